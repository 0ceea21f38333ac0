const HOUR = 3_600_000;

/** GPU hours that `gpus` held from `since` to `until` (ms since 1970), never below 0. */
export function gpuHours(gpus: number, since: number, until: number): number {
  return (gpus * Math.max(0, until - since)) / HOUR;
}

/**
 * Whether the grace (ms) of a serving that nobody needs is over. A run never takes what it is the first to see, whatever the grace: what
 * one look finds may be somebody's next step.
 */
export function isDue(since: number, now: number, grace: number): boolean {
  return now > since && now - since >= grace;
}
