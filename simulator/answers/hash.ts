/** 32-bit FNV-1a over UTF-16 units, with a final avalanche (murmur3's) so that near texts differ in every bit. */
export function hash32(text: string, seed = 0x811c9dc5): number {
  let hash = seed >>> 0;
  for (let index = 0; index < text.length; index++) {
    hash ^= text.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x85ebca6b);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35);
  hash ^= hash >>> 16;
  return hash >>> 0;
}

/** A number in [0, 1) that depends on the parts only; a part boundary counts. */
export function unitHash(...parts: (string | number)[]): number {
  return hash32(parts.join('\u0000')) / 2 ** 32;
}
