import { influenceRequests, pairStrata } from './influence.ts';
import { FIXED_POINT, guardId, metricInfo } from './metrics.ts';
import { woodruffSe } from './quantile.ts';
import { sliceOf } from './strata.ts';
import type {
  GateBaseline,
  GateFigures,
  GateMetric,
  GatePolicy,
  GateTotals,
  InfluenceRequest,
} from './types.ts';

/**
 * What the users before a release tell about the one to come. The figures are those of a release, with rows of the stable arm only, collected
 * over a span of the past (`totals.from` to `totals.to`, best as long as the first horizon); pass 2 uses `baselineRequests`.
 */

/**
 * A percentile that came out high lies where the tail is thinner, and so has the larger error: it takes some 3 % more to be as sure as planned
 * (measured by the benchmark).
 */
const PERCENTILE_VARIES = 1.03;

/** The stable arm beside itself: everything that compares two arms then describes the one. */
function mirrored(totals: GateTotals): GateTotals {
  const stable = <Row extends { arm: string }>(rows: readonly Row[]) =>
    rows.filter((row) => row.arm === 'stable');
  const both = <Row extends { arm: string }>(rows: readonly Row[]) =>
    stable(rows).flatMap((row) => [row, { ...row, arm: 'canary' as const }]);
  return { ...totals, metrics: both(totals.metrics), buckets: both(totals.buckets) };
}

/** Requests of pass 2 for a baseline; their canary rows match no data. */
export function baselineRequests(metrics: readonly GateMetric[], totals: GateTotals): InfluenceRequest[] {
  return influenceRequests(metrics, mirrored(totals));
}

/**
 * The baseline for `planGate`. Users at a horizon beyond the span are extrapolated from the rate at which new users still came in the last
 * third of it, since users come back and do not grow in proportion to time. null if there is no user.
 */
export function baselineOf(policy: GatePolicy, figures: GateFigures): GateBaseline | null {
  const totals = mirrored(figures.totals);
  const traffic = figures.totals.traffic.filter((row) => row.arm === 'stable');
  const users = traffic.reduce((sum, row) => sum + row.newUsers, 0);
  if (users < 2) return null;
  const requests = traffic.reduce((sum, row) => sum + row.requests, 0);
  const baseline: GateBaseline = {
    users: policy.horizons.map((after) => usersAfter(after, figures.totals)),
    samplesPerUser: requests / users,
    evenness: 1,
    sigma: {},
    rates: {},
  };
  for (const metric of policy.metrics) {
    const guard = guardId(metric);
    const sums = figures.sums.find((candidate) => candidate.guard === guard)?.arms.stable;
    const paired = pairStrata(metric.metric, totals);
    if (!sums || sums.users < 2 || paired.pairs.length === 0) continue;
    const variance = Number(sums.own2) / (paired.scale * FIXED_POINT) ** 2;
    // A percentile's error grows faster than that of its rank, as the tail gets thin: ask for it where the smaller arm will be.
    const share = metric.scale === 'p95' ? Math.min(policy.weight, 1 - policy.weight) : 1;
    const se =
      metric.scale === 'p95'
        ? woodruffSe(metric.metric, 'stable', paired, totals, Math.sqrt(variance / share))
        : Math.sqrt(variance);
    const varies = metric.scale === 'p95' ? PERCENTILE_VARIES : 1;
    if (se !== null && se > 0) baseline.sigma[guard] = varies * se * Math.sqrt(share * sums.users);
    const samples = paired.n / 2;
    if (metricInfo(metric.metric)?.kind === 'rate')
      baseline.rates[guard] = rateOf(metric.metric, samples, totals);
    baseline.evenness = Math.min(baseline.evenness, samples ** 2 / (sums.users * Number(sums.n2)));
  }
  return baseline;
}

function rateOf(metric: string, samples: number, totals: GateTotals): number {
  const events = totals.metrics
    .filter((row) => row.metric === metric && row.arm === 'stable')
    .reduce((sum, row) => sum + Number(row.sum), 0);
  return Math.min(1, events / FIXED_POINT / samples);
}

function usersAfter(after: number, totals: GateTotals): number {
  const span = totals.to - totals.from;
  const arrived = (until: number) =>
    totals.traffic
      .filter((row) => row.arm === 'stable' && (sliceOf(row.stratum) + 0.5) * totals.stratum < until)
      .reduce((sum, row) => sum + row.newUsers, 0);
  if (after <= span) return arrived(after);
  const all = arrived(Number.POSITIVE_INFINITY);
  // Too few slices to see how arrivals slow down: count nobody that was not seen.
  const tail = span / 3;
  if (tail < totals.stratum) return all;
  const rate = (all - arrived(span - tail)) / tail;
  return Math.floor(all + rate * (after - span));
}
