const FIRST_PAUSE_MS = 10_000;
const LONGEST_PAUSE_MS = 300_000;

/** A serving that was not started afresh for so long, in ms, begins again without a pause. */
const FORGOTTEN_AFTER_MS = 600_000;

/** How often a failed serving was started afresh, and how long ago the last time, in ms; null: never. */
export interface Restarts {
  count: number;
  last: number | null;
}

/**
 * Whether a serving that failed is to be started afresh now: at once for the first time, then after 10 s, 20 s, 40 s and at most 5
 * minutes, and without a history after 10 minutes of peace. These are the kubelet's figures for a crash loop.
 * @returns the count to note with the start; null: not yet
 */
export function nextRestart({ count, last }: Restarts): number | null {
  if (last === null || last >= FORGOTTEN_AFTER_MS) return 1;
  const pause = count === 0 ? 0 : Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (count - 1));
  return last >= pause ? count + 1 : null;
}
