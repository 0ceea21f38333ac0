import { CLOCK_TOLERANCE } from './strata.ts';

/** A start or an end that is not given is rounded outward to this part of a stratum: an hour of a day. */
const ROUNDING = 24;

/** Times are ms since 1970. */
export interface AskedWindow {
  /** The canary began; left out: with the first row. */
  from?: number | undefined;
  /** The data are complete up to here, and the gate is asked then; left out: up to the last row. */
  to?: number | undefined;
}

export interface CsvWindow {
  from: number;
  to: number;
  /** Is a row of that time dated where the canary was? Else its clock jumped. */
  holds: (at: number) => boolean;
}

/**
 * Which rows of a file are the canary's. A row from before `from`, or of a stratum that begins after `to`, has a wrong clock, as a sample of
 * the ledger would. An end that is not given is where the rows end, but strays must not decide it: rows that a gap of more than a stratum
 * parts from most others have a wrong clock, too.
 * @param times of all rows, rising
 */
export function csvWindow(times: Float64Array, stratum: number, asked: AskedWindow): CsvWindow {
  const earliest = asked.from === undefined ? Number.NEGATIVE_INFINITY : asked.from - CLOCK_TOLERANCE;
  const latest = asked.to === undefined ? Number.POSITIVE_INFINITY : asked.to + CLOCK_TOLERANCE;
  const run = largestRun(
    times.filter((at) => at >= earliest && at <= latest),
    stratum,
  );
  const unit = stratum / ROUNDING;
  const from = asked.from ?? (run ? Math.floor(run.first / unit) * unit : (asked.to ?? 0));
  const to = asked.to ?? Math.max(from, run ? Math.floor(run.last / unit) * unit + unit : from);
  const beginOf = (at: number) => from + Math.floor((at - from) / stratum) * stratum;
  return {
    from,
    to,
    holds: (at) =>
      at >= (asked.from === undefined ? from : earliest) &&
      (asked.to === undefined ? at <= to : beginOf(at) <= latest),
  };
}

/** The most rows without a longer gap between two of them; null without rows. */
function largestRun(times: Float64Array, gap: number): { first: number; last: number } | null {
  let largest: { first: number; last: number; rows: number } | null = null;
  let begin = 0;
  for (let next = 1; next <= times.length; next += 1) {
    const last = times[next - 1] ?? Number.NaN;
    if (next < times.length && (times[next] ?? Number.NaN) - last <= gap) continue;
    const rows = next - begin;
    if (rows > (largest?.rows ?? 0)) largest = { first: times[begin] ?? Number.NaN, last, rows };
    begin = next;
  }
  return largest;
}
