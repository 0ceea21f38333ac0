import { ClosedQA } from 'autoevals';
import OpenAI, { APIError, APIUserAbortError } from 'openai';
import { type Judge, type Judgeable, UnjudgeableError } from './judge.ts';

export interface JudgeOptions {
  /** Base URL of an OpenAI-compatible endpoint, with `/v1`. */
  url: string;
  model: string;
  key?: string | undefined;
  /** Let the judge reason before it decides, and say why: better and several times slower. */
  reasons?: boolean | undefined;
  timeoutMs?: number | undefined;
}

/** Models that take no temperature. */
const reasoning = /^(gpt-5|o\d)/;

/**
 * An LLM as judge, asked by autoevals' question whether a submission meets a criterion: 1 if it does, 0 if not.
 * The client is always our own: left to itself autoevals asks its maker's gateway.
 */
export function createJudge(options: JudgeOptions): Judge {
  const { url, model, key = 'none', reasons = false, timeoutMs = 30_000 } = options;
  const openai = new OpenAI({
    baseURL: url,
    apiKey: key,
    timeout: timeoutMs,
    maxRetries: 0,
    logLevel: 'off',
  });
  return {
    async score(answer, { signal } = {}) {
      try {
        const { score, metadata } = await ClosedQA({
          input: answer.input,
          output: answer.output,
          criteria: criterionOf(answer),
          model,
          useCoT: reasons,
          ...(reasoning.test(model) ? {} : { temperature: 0 }),
          client: clientOf(openai, signal),
        });
        if (score === null) throw new Error('the judge gave no score');
        return { score, rationale: typeof metadata?.rationale === 'string' ? metadata.rationale : null };
      } catch (error) {
        if (error instanceof APIUserAbortError) throw signal?.reason ?? error;
        throw problemOf(error);
      }
    },
  };
}

function criterionOf({ criteria, expected }: Judgeable): string {
  return expected === undefined ? criteria : `${criteria}\nA right answer would be: ${expected}`;
}

type AutoevalsClient = NonNullable<Parameters<typeof ClosedQA>[0]['client']>;

/** What autoevals calls of a client, with the signal that it does not know. Its own openai is another major version, with the same calls. */
function clientOf(openai: OpenAI, signal: AbortSignal | undefined): AutoevalsClient {
  const client = {
    chat: {
      completions: {
        create: (body: OpenAI.ChatCompletionCreateParamsNonStreaming) =>
          openai.chat.completions.create(body, { signal }),
      },
    },
    responses: {
      create: (body: OpenAI.Responses.ResponseCreateParamsNonStreaming) =>
        openai.responses.create(body, { signal }),
    },
  };
  return client as unknown as AutoevalsClient;
}

/** How an endpoint says that it takes no such text: bad request (also: longer than the model's context), too large, not processable. */
const ofThisAnswer = new Set([400, 413, 422]);

/** An endpoint's own message may quote the key or the text that was judged; so only its status is told. */
function problemOf(error: unknown): Error {
  const options = { cause: error };
  if (!(error instanceof APIError)) {
    return new UnjudgeableError('the judge gave no judgement that can be read', options);
  }
  if (error.status === undefined) return new Error('the judge does not answer', options);
  const message = `the judge answered ${error.status}`;
  return ofThisAnswer.has(error.status)
    ? new UnjudgeableError(message, options)
    : new Error(message, options);
}
