import { ClosedQA } from 'autoevals';
import OpenAI, { APIError, APIUserAbortError } from 'openai';
import type { Judge, Judgeable } from './judge.ts';

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
        throw new Error(problemOf(error), { cause: error });
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

/** An endpoint's own message may quote the key or the text that was judged; so only its status is told. */
function problemOf(error: unknown): string {
  if (error instanceof APIError) {
    return error.status === undefined ? 'the judge does not answer' : `the judge answered ${error.status}`;
  }
  return 'the judge gave no judgement that can be read';
}
