import { UpstreamFailure } from './upstream.ts';

/** What the engine counted; never an estimate. */
export interface Usage {
  promptTokens: number;
  completionTokens: number;
  cachedTokens: number | null;
}

type Json = Record<string, unknown>;

const object = (value: unknown): Json | null =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : null;

const count = (value: unknown): number | null =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;

export function usageOf(value: unknown): Usage | null {
  const usage = object(value);
  const promptTokens = count(usage?.prompt_tokens);
  const completionTokens = count(usage?.completion_tokens);
  if (promptTokens === null || completionTokens === null) return null;
  return {
    promptTokens,
    completionTokens,
    cachedTokens: count(object(usage?.prompt_tokens_details)?.cached_tokens),
  };
}

/** The one choice of a completion or chunk. */
export function choiceOf(body: Json): Json | null {
  return Array.isArray(body.choices) ? object(body.choices[0]) : null;
}

/** The text that a message or a delta carries. */
export function textOf(choice: Json | null, member: 'message' | 'delta'): string {
  const content = object(choice?.[member])?.content;
  return typeof content === 'string' ? content : '';
}

/** Does a chunk carry the first of what the user waits for: text, reasoning or a call of a tool? */
export function hasContent(choice: Json | null): boolean {
  const delta = object(choice?.delta);
  if (delta === null) return false;
  const {
    content,
    reasoning_content: reasoning,
    reasoning: newReasoning,
    tool_calls: calls,
    refusal,
  } = delta;
  const texts = [content, reasoning, newReasoning, refusal];
  return (
    texts.some((text) => typeof text === 'string' && text !== '') ||
    (Array.isArray(calls) && calls.length > 0)
  );
}

export function finishReasonOf(choice: Json | null): string | null {
  return typeof choice?.finish_reason === 'string' ? choice.finish_reason : null;
}

/** @throws UpstreamFailure when it is not a JSON object */
export function parseUpstream(text: string): Json {
  let value: Json | null = null;
  try {
    value = object(JSON.parse(text));
  } catch {
    // Told below, without the text.
  }
  if (value === null)
    throw new UpstreamFailure(
      'upstream_invalid',
      'the model endpoint answered with something else than JSON',
    );
  return value;
}
