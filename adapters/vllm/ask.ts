import OpenAI, { APIConnectionError, APIError, APIUserAbortError } from 'openai';
import type { CompletionRequest } from '../../domain/prompt/request.ts';

/** What a model answered, or why the engine refused the request as it is. */
export interface Answer {
  text: string;
  /** What the engine said against the request itself, e.g. that it is longer than the context; null: it answered. */
  refusal: string | null;
  /** From the request to the last byte of the answer. */
  latencyMs: number;
}

/** Asks one replica. Whatever it throws says nothing about the answer: the replica could not be asked. */
export type AskEndpoint = (
  /** Base URL of a replica, without `/v1`. */
  endpoint: string,
  request: CompletionRequest,
  options: { timeoutMs: number; signal?: AbortSignal | undefined },
) => Promise<Answer>;

/** Statuses that mean that the same request would be refused by every replica. */
const REFUSED = new Set([400, 413, 422]);

/** @param apiKey what the serving was started with; vLLM without `--api-key` takes any */
export function createAskEndpoint(apiKey = 'none'): AskEndpoint {
  return async (endpoint, request, { timeoutMs, signal }) => {
    const client = new OpenAI({
      baseURL: `${endpoint}/v1`,
      apiKey,
      timeout: timeoutMs,
      maxRetries: 0,
      logLevel: 'off',
    });
    const started = performance.now();
    const since = () => performance.now() - started;
    try {
      // The messages are passed on as they are; what the client's types know of them is narrower than what engines take.
      const body = request as unknown as OpenAI.ChatCompletionCreateParamsNonStreaming;
      const completion = await client.chat.completions.create(body, { signal });
      return { text: completion.choices[0]?.message.content ?? '', refusal: null, latencyMs: since() };
    } catch (error) {
      if (error instanceof APIUserAbortError) throw signal?.reason ?? error;
      if (error instanceof APIError && error.status !== undefined && REFUSED.has(error.status)) {
        return { text: '', refusal: `${error.status} ${error.type ?? ''}`.trim(), latencyMs: since() };
      }
      throw new Error(`${endpoint} ${problemOf(error)}`, { cause: error });
    }
  };
}

function problemOf(error: unknown): string {
  if (error instanceof APIConnectionError) {
    const cause = error.cause instanceof Error ? error.cause : undefined;
    const inner = cause?.cause instanceof Error ? cause.cause : cause;
    return `does not answer: ${inner?.message ?? error.message}`;
  }
  if (error instanceof APIError) return `answered ${error.status ?? 'an error'}`;
  return `could not be asked: ${error instanceof Error ? error.message : String(error)}`;
}
