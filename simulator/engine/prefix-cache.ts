import { hash32 } from '../answers/hash.ts';

/** Characters of a prompt that are cached or not as one; some four blocks of 16 tokens. */
const CHUNK = 256;

/** Remembers which beginnings of prompts were computed before; the least recently used are forgotten first. */
export class PrefixCache {
  readonly #chunks = new Set<string>();
  readonly #capacity: number;

  /** @param tokens how many tokens the KV cache holds */
  constructor(tokens: number) {
    this.#capacity = Math.max(1, Math.floor((tokens * 4) / CHUNK));
  }

  /** The share of the prompt, from its beginning, that is in the cache; afterwards all of it is. 0–1. */
  hit(prompt: string): number {
    let key = '';
    let hits = 0;
    let missed = false;
    for (let at = 0; at + CHUNK <= prompt.length; at += CHUNK) {
      const chunk = prompt.slice(at, at + CHUNK);
      key = `${hash32(chunk + key).toString(36)}.${hash32(key + chunk, 7).toString(36)}`;
      if (this.#chunks.delete(key)) {
        if (!missed) hits += CHUNK;
      } else {
        missed = true;
      }
      this.#chunks.add(key);
    }
    this.#trim();
    return prompt.length === 0 ? 0 : hits / prompt.length;
  }

  #trim(): void {
    for (const key of this.#chunks) {
      if (this.#chunks.size <= this.#capacity) return;
      this.#chunks.delete(key);
    }
  }
}
