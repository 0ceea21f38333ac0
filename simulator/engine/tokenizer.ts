const pieces = /\s?\p{L}+|\s?\p{N}{1,3}|\s?[^\s\p{L}\p{N}]+|\s+/gu;

/** Letters of one word that are a token; a longer word is cut. */
const LONGEST_PIECE = 9;

/**
 * Cuts a text into token-like pieces, whose concatenation is the text: words with the space before them, long words in parts, up to
 * three digits, runs of punctuation. English comes out within some ten percent of Llama 3's counts; it is no model's tokenizer.
 */
export function tokenise(text: string): string[] {
  const tokens: string[] = [];
  for (const match of text.matchAll(pieces)) {
    const piece = match[0];
    if (piece.length <= LONGEST_PIECE + 1) tokens.push(piece);
    else for (const part of cut(piece)) tokens.push(part);
  }
  return tokens;
}

/** Cuts by code points, so that no character is split. */
function cut(piece: string): string[] {
  const characters = Array.from(piece);
  const parts: string[] = [];
  for (let at = 0; at < characters.length; at += LONGEST_PIECE) {
    parts.push(characters.slice(at, at + LONGEST_PIECE).join(''));
  }
  return parts;
}

const REMEMBERED_TEXTS = 500;
const counts = new Map<string, number>();

/** The number of tokens; remembered, because system texts and examples come with every request. */
export function countTokens(text: string): number {
  const known = counts.get(text);
  if (known !== undefined) return known;
  const count = tokenise(text).length;
  const oldest = counts.keys().next().value;
  if (counts.size >= REMEMBERED_TEXTS && oldest !== undefined) counts.delete(oldest);
  counts.set(text, count);
  return count;
}

const firstId = 1000;
const vocabulary: string[] = [];
const ids = new Map<string, number>();

/** Ids are given in the order in which pieces are first seen by this process: good for a round trip, not across processes. */
export function tokenId(piece: string): number {
  const known = ids.get(piece);
  if (known !== undefined) return known;
  const id = firstId + vocabulary.push(piece) - 1;
  ids.set(piece, id);
  return id;
}

export function pieceOf(id: number): string {
  return vocabulary[id - firstId] ?? '';
}
