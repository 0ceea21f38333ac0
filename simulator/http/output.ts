import { tokenise } from '../engine/tokenizer.ts';

/** What a request will be answered with, before the engine takes its time over it. */
export interface Output {
  pieces: string[];
  /** Tokens that the engine makes: the pieces and, when the model stops by itself, the end-of-turn token. */
  tokens: number;
  finish: 'stop' | 'length';
  /** The stop string that ended the output. */
  stopReason: string | null;
}

/** Applies stop strings and the token limit to a text. With `ignoreEos` the text is repeated up to the limit. */
export function makeOutput(
  text: string,
  maxTokens: number,
  stops: readonly string[],
  ignoreEos: boolean,
): Output {
  let rest = text;
  let stopReason: string | null = null;
  for (const stop of stops) {
    const at = stop === '' ? -1 : rest.indexOf(stop);
    if (at >= 0) {
      rest = rest.slice(0, at);
      stopReason = stop;
    }
  }
  let pieces = tokenise(rest);
  if (ignoreEos && stopReason === null && pieces.length > 0) {
    const once = pieces;
    while (pieces.length < maxTokens) pieces = pieces.concat(once);
  }
  if (pieces.length >= maxTokens) {
    return { pieces: pieces.slice(0, maxTokens), tokens: maxTokens, finish: 'length', stopReason: null };
  }
  return { pieces, tokens: pieces.length + 1, finish: 'stop', stopReason };
}
