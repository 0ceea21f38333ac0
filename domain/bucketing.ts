import { createHash } from 'node:crypto';
import type { Arm } from './words.ts';

/**
 * A user's place on the unit interval for one release: uniform, the same on every replica and after every restart, and independent
 * between releases, so that nobody is the guinea pig of each of them.
 * SHA-256 over both parts with a delimiter that neither may contain; its first 52 bits, which a double carries exactly.
 */
export function bucketOf(release: string, userKey: string): number {
  const hash = createHash('sha256').update(release).update('\0').update(userKey).digest();
  return (hash.readUInt32BE(0) * 2 ** 20 + (hash.readUInt32BE(4) >>> 12)) / 2 ** 52;
}

/**
 * The arm of a user at a weight in 0–1. Raising the weight only ever adds users to the canary (invariant 3).
 */
export function armOf(release: string, userKey: string, weight: number): Arm {
  return bucketOf(release, userKey) < weight ? 'canary' : 'stable';
}
