/** How a kubelet waits between tries, in milliseconds. */
export interface BackoffTiming {
  /** The first wait; 10 s in a kubelet. */
  baseMs: number;
  /** The longest wait; 300 s in a kubelet. */
  maxMs: number;
  /** A container that ran for so long begins anew; 600 s in a kubelet. */
  resetAfterMs: number;
}

export const kubeletBackoff: BackoffTiming = { baseMs: 10_000, maxMs: 300_000, resetAfterMs: 600_000 };

/**
 * The wait before the next start of a container, after a run of `ranMs`. `previousMs` is the wait before that run, undefined for the
 * first one: a container that ends for the first time is started again at once.
 */
export function nextWait(previousMs: number | undefined, ranMs: number, timing: BackoffTiming): number {
  if (previousMs === undefined || ranMs >= timing.resetAfterMs) return 0;
  return doubled(previousMs, timing);
}

/** The wait after another failed pull of an image; 0 stands for "none yet". */
export function doubled(previousMs: number, { baseMs, maxMs }: BackoffTiming): number {
  return Math.min(maxMs, previousMs === 0 ? baseMs : previousMs * 2);
}

/** As Go prints a duration: `10s`, `1m20s`, `500ms`. */
export function goDuration(ms: number): string {
  if (ms < 1000) return ms === 0 ? '0s' : `${ms}ms`;
  const seconds = ms / 1000;
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor((seconds % 3600) / 60);
  const rest = Number((seconds % 60).toFixed(3));
  return `${hours > 0 ? `${hours}h` : ''}${seconds >= 60 ? `${minutes}m` : ''}${rest}s`;
}
