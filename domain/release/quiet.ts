/** Times are ms since 1970; `to` is not in the span any more. */
export interface Span {
  from: number;
  to: number;
}

export interface QuietSearch {
  /** When canaries ran. */
  canaries: readonly Span[];
  /** Nothing before this is looked at. */
  since: number;
  now: number;
  /** The span must be so long, ms. */
  length: number;
  /** The span begins and ends on a multiple of this since 1970, ms. */
  whole: number;
}

/** The latest span without a canary that is long enough; null if there is none. */
export function latestQuiet({ canaries, since, now, length, whole }: QuietSearch): Span | null {
  const needed = Math.ceil(length / whole) * whole;
  let to = now;
  for (const canary of [...canaries, { from: -Infinity, to: since }].sort((a, b) => b.to - a.to)) {
    const last = Math.floor(to / whole) * whole;
    if (last - needed >= Math.max(canary.to, since)) return { from: last - needed, to: last };
    to = Math.min(to, canary.from);
  }
  return null;
}
