import type { Arm } from '../words.ts';
import { sliceOf } from './strata.ts';
import type { GateTotals } from './types.ts';

/** Where a metric was measured, slice by slice: a week of which three days were not measured is not a week. */
export interface Coverage {
  /** Slices that have ended. */
  slices: number;
  /** Where one arm first went without values, though the other had some. */
  oneSided: { arm: Arm; slice: number } | null;
  /** Slices in which neither arm had a value, though requests went on. */
  silent: number[];
  /** Is the last of those still going on? */
  silentNow: boolean;
}

/** Values that would be due, at the rate of all slices together, before their absence counts: e^−20 by chance. */
const DUE = 20;

interface Slice {
  requests: Record<Arm, number>;
  values: Record<Arm, number>;
}

export function coverageOf(metric: string, totals: GateTotals): Coverage {
  const ended = endedSlices(metric, totals);
  const sum = (of: (slice: Slice) => Record<Arm, number>) =>
    ended.reduce((total, [, slice]) => total + of(slice).stable + of(slice).canary, 0);
  const perRequest =
    sum(({ values }) => values) /
    Math.max(
      1,
      sum(({ requests }) => requests),
    );

  let oneSided: Coverage['oneSided'] = null;
  for (const arm of ['stable', 'canary'] as const) {
    // A slice in which neither arm has a value says nothing of one arm.
    const telling = ended.filter(([, { values }]) => values.stable + values.canary > 0);
    const [gone] = absences(
      telling,
      ({ values }) => values[arm] === 0,
      ({ requests }) => requests[arm] * perRequest,
    );
    if (gone !== undefined && (oneSided === null || gone < oneSided.slice)) oneSided = { arm, slice: gone };
  }
  const silent = absences(
    ended,
    ({ values }) => values.stable + values.canary === 0,
    ({ requests }) => (requests.stable + requests.canary) * perRequest,
  );
  return {
    slices: Math.floor((totals.to - totals.from) / totals.stratum),
    oneSided,
    silent,
    silentNow: silent.length > 0 && silent.at(-1) === ended.at(-1)?.[0],
  };
}

/** Ended slices with requests of both arms. */
export function slicesWithTraffic(totals: GateTotals): number {
  return endedSlices('', totals).filter(([, { requests }]) => requests.stable > 0 && requests.canary > 0)
    .length;
}

/** Slices with requests that have ended, in time. */
function endedSlices(metric: string, totals: GateTotals): [slice: number, content: Slice][] {
  const slices = new Map<number, Slice>();
  for (const { arm, stratum, requests } of totals.traffic) {
    const slice = sliceOf(stratum);
    if (slice < 0 || totals.from + (slice + 1) * totals.stratum > totals.to) continue;
    const content = slices.get(slice) ?? {
      requests: { stable: 0, canary: 0 },
      values: { stable: 0, canary: 0 },
    };
    content.requests[arm] += requests;
    slices.set(slice, content);
  }
  for (const row of totals.metrics) {
    const content = slices.get(sliceOf(row.stratum));
    if (row.metric === metric && content) content.values[row.arm] += row.n;
  }
  return [...slices].sort(([a], [b]) => a - b);
}

/** The slices of all runs of absences in which enough was due. */
function absences(
  slices: readonly [number, Slice][],
  absent: (slice: Slice) => boolean,
  due: (slice: Slice) => number,
): number[] {
  const found: number[] = [];
  let run: number[] = [];
  let missed = 0;
  const end = () => {
    if (missed >= DUE) found.push(...run);
    run = [];
    missed = 0;
  };
  for (const [number, slice] of slices) {
    if (!absent(slice)) {
      end();
      continue;
    }
    run.push(number);
    missed += due(slice);
  }
  end();
  return found;
}
