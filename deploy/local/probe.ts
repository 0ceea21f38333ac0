import { setTimeout as delay } from 'node:timers/promises';

export interface WaitOptions {
  /** How long to try, in milliseconds. */
  timeoutMs: number;
  /** Pause between two tries, in milliseconds. */
  everyMs?: number;
  signal?: AbortSignal;
}

/**
 * Tries until the probe gives something truthy, and gives that back. A probe that throws counts as "not yet"; its last error becomes
 * the cause when the time is up.
 */
export async function waitUntil<T>(
  what: string,
  probe: () => Promise<T> | T,
  { timeoutMs, everyMs = 50, signal }: WaitOptions,
): Promise<NonNullable<T>> {
  const deadline = performance.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    signal?.throwIfAborted();
    try {
      const found = await probe();
      if (found) return found;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= deadline) {
      const why = cause instanceof Error ? `: ${cause.message}` : '';
      throw new Error(`${what}: not after ${Math.round(timeoutMs / 1000)} s${why}`, { cause });
    }
    await delay(everyMs, undefined, signal ? { signal } : {});
  }
}

/** True when the address answers with a success. */
export async function answersHttp(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
  await response.body?.cancel();
  return response.ok;
}
