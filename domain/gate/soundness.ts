import type { Arm } from '../words.ts';
import { guardId } from './metrics.ts';
import { phaseOf, sliceOf } from './strata.ts';
import type { GateMetric, GatePlan, GateTotals, Reason } from './types.ts';
import { tidy } from './wording.ts';

/** What keeps the data from being judged (invariant 4): each with a reason of its own; none of them ever promotes. */

const arms: readonly Arm[] = ['stable', 'canary'];

/** Samples that a metric would have in a stratum if it came as often as elsewhere; with none where this many are due it is missing. */
const DUE = 20;

/** Reasons that concern all metrics: the clock. `now` is the time of a look, ms since 1970. */
export function clockProblems(totals: GateTotals, now: number): Reason[] {
  const reason = (words: string): Reason[] => [{ code: 'clock', words }];
  if (!Number.isFinite(totals.from) || !Number.isFinite(totals.to) || totals.to < totals.from) {
    return reason('the data end before the canary began: a clock was set back');
  }
  if (now < totals.to) return reason('the data reach beyond the time of this look: a clock is ahead');
  const lastSlice = Math.floor((totals.to - totals.from) / totals.stratum);
  for (const { stratum } of [...totals.traffic, ...totals.metrics, ...totals.buckets]) {
    const slice = sliceOf(stratum);
    if (slice < 0) return reason('samples are dated before the canary began: a clock was set back');
    if (slice > lastSlice) return reason('samples are dated after the watermark: a clock is ahead');
    if (phaseOf(stratum) >= totals.phases.length) {
      return reason(`samples are dated in phase ${phaseOf(stratum)} of the weight, which has not begun`);
    }
  }
  const outside = totals.unusable.filter((row) => row.reason === 'outside-window');
  const count = outside.reduce((sum, row) => sum + row.n, 0);
  if (count > 0) return reason(`${tidy(count)} samples are dated outside the canary: a clock jumped`);
  return [];
}

/** Why one guard cannot be measured; null if nothing speaks against it so far. */
export function metricProblem(metric: GateMetric, plan: GatePlan, totals: GateTotals): Reason | null {
  const guard = guardId(metric);
  const name = metric.metric;
  const unusable = (reason: string) =>
    totals.unusable
      .filter((row) => row.metric === name && row.reason === reason)
      .reduce((sum, row) => sum + row.n, 0);
  const notFinite = unusable('not-finite');
  if (notFinite > 0) {
    return {
      code: 'not-finite',
      guard,
      words: `${tidy(notFinite)} values of ${name} are NaN: measuring failed`,
    };
  }
  const infinite = unusable('infinite');
  if (infinite > 0) {
    return { code: 'infinite', guard, words: `${tidy(infinite)} values of ${name} are infinite` };
  }
  const outOfRange = unusable('out-of-range');
  if (outOfRange > 0) {
    return {
      code: 'out-of-range',
      guard,
      words: `${tidy(outOfRange)} values of ${name} are out of its range`,
    };
  }
  const samples = { stable: 0, canary: 0 };
  for (const row of totals.metrics) if (row.metric === name) samples[row.arm] += row.n;
  if (samples.stable + samples.canary === 0) {
    return {
      code: 'no-samples',
      guard,
      words: `no sample has a value of ${name}${otherNames(plan, totals)}`,
    };
  }
  for (const arm of arms) {
    if (samples[arm] === 0)
      return { code: 'one-arm', guard, words: `the ${arm} arm has no value of ${name}` };
  }
  return missingSomewhere(metric, plan, totals, samples.stable + samples.canary);
}

/** A metric that vanishes, or begins late, while requests go on: renamed, or its evaluator is down. The stratum still open may lag. */
function missingSomewhere(
  metric: GateMetric,
  plan: GatePlan,
  totals: GateTotals,
  samples: number,
): Reason | null {
  const guard = guardId(metric);
  const requests = totals.traffic.reduce((sum, row) => sum + row.requests, 0);
  if (requests === 0) return null;
  const key = (row: { arm: Arm; stratum: number }) => `${row.arm} ${row.stratum}`;
  const present = new Map<string, number>();
  for (const row of totals.metrics) if (row.metric === metric.metric) present.set(key(row), row.n);
  const traffic = [...totals.traffic].sort((a, b) => a.stratum - b.stratum || (a.arm < b.arm ? -1 : 1));
  for (const row of traffic) {
    const ends = totals.from + (sliceOf(row.stratum) + 1) * totals.stratum;
    if (ends > totals.to) continue;
    if (row.requests * (samples / requests) >= DUE && !present.get(key(row))) {
      return {
        code: 'metric-missing',
        guard,
        words: `the ${row.arm} arm has no value of ${metric.metric} in slice ${sliceOf(row.stratum)}, though requests went on${otherNames(plan, totals)}`,
      };
    }
  }
  if (metric.scale !== 'p95') return null;
  const histogram = new Map<string, number>();
  for (const row of totals.buckets) {
    if (row.metric === metric.metric) histogram.set(key(row), (histogram.get(key(row)) ?? 0) + row.n);
  }
  for (const [where, n] of present) {
    if (histogram.get(where) === n) continue;
    return {
      code: 'metric-missing',
      guard,
      words: `the histograms of ${metric.metric} hold ${histogram.get(where) ?? 0} of ${n} samples (${where})`,
    };
  }
  return null;
}

function otherNames(plan: GatePlan, totals: GateTotals): string {
  const expected = new Set(plan.policy.metrics.map((metric) => metric.metric));
  const others = [...new Set(totals.metrics.map((row) => row.metric))]
    .filter((name) => !expected.has(name))
    .sort();
  return others.length === 0
    ? ''
    : ` (the data carry ${others.join(', ')}; is its evaluator behind, or was it renamed?)`;
}
