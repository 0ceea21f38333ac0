import { counted } from '../counted.ts';
import type { Arm } from '../words.ts';
import { coverageOf, slicesWithTraffic } from './coverage.ts';
import { guardId, metricInfo } from './metrics.ts';
import { phaseOf, sliceOf } from './strata.ts';
import type { GateFigures, GateMetric, GatePlan, GateTotals, Reason } from './types.ts';
import { duration, percent, tidy } from './wording.ts';

/** What keeps the data from being judged (invariant 4): each with a reason of its own; none of them ever promotes. */

const arms: readonly Arm[] = ['stable', 'canary'];

/** Why nothing can be said at all: the clock that the data end by. `now` is the time of a look, ms since 1970. */
export function clockBroken(totals: GateTotals, now: number): Reason | null {
  if (!Number.isFinite(totals.from) || !Number.isFinite(totals.to) || totals.to < totals.from) {
    return { code: 'clock', words: 'the data end before the canary began: a clock was set back' };
  }
  if (now < totals.to) {
    return { code: 'clock', words: 'the data reach beyond the time of this look: a clock is ahead' };
  }
  return null;
}

/** Samples whose date cannot be: they are left out, the others may still show harm, and nothing is promoted. */
export function clockJump(totals: GateTotals): Reason | null {
  const reason = (words: string): Reason => ({ code: 'clock', words });
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
  if (count === 0) return null;
  return reason(`${counted(tidy(count), 'sample')} dated outside the canary: a clock jumped`);
}

/** What is wrong with the values of one guard; null if nothing speaks against them so far. Those that are usable may still show harm. */
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
  const { oneSided, silent, silentNow } = coverageOf(name, totals);
  if (oneSided !== null) {
    return {
      code: 'metric-missing',
      guard,
      words: `the ${oneSided.arm} arm has no value of ${name} in slice ${oneSided.slice + 1}, though requests went on and the other arm has some${otherNames(plan, totals)}`,
    };
  }
  if (silentNow) {
    return {
      code: 'metric-silent',
      guard,
      words: `neither arm has a value of ${name} in slice ${(silent.at(-1) ?? 0) + 1}, though requests went on${otherNames(plan, totals)}`,
    };
  }
  return null;
}

/** A percentile without all of its histogram is another percentile: nothing can be said of it. */
export function histogramProblem(metric: GateMetric, totals: GateTotals): Reason | null {
  if (metric.scale !== 'p95') return null;
  const key = (row: { arm: Arm; stratum: number }) => `${row.arm} ${row.stratum}`;
  const histogram = new Map<string, number>();
  for (const row of totals.buckets) {
    if (row.metric === metric.metric) histogram.set(key(row), (histogram.get(key(row)) ?? 0) + row.n);
  }
  for (const row of totals.metrics) {
    if (row.metric !== metric.metric || histogram.get(key(row)) === row.n) continue;
    return {
      code: 'metric-missing',
      guard: guardId(metric),
      words: `the histograms of ${metric.metric} hold ${histogram.get(key(row)) ?? 0} of ${row.n} samples (${key(row)})`,
    };
  }
  return null;
}

/** Of the canary's users, so many in both arms are an accident; more, and the arms are not what they are called. */
const STRAYS = 0.01;

/**
 * Users of both arms although the weight never changed: then nobody may change sides (invariant 3). A raised weight moves users, which the
 * strata of its phases allow for.
 */
export function bothArms({ totals, sums }: GateFigures): Reason | null {
  if (totals.traffic.some(({ stratum }) => phaseOf(stratum) !== 0)) return null;
  // Whoever came first outside of the canary is not among its users, whose number is then not known.
  if (totals.unusable.some(({ reason }) => reason === 'outside-window')) return null;
  const users = totals.traffic.reduce((sum, { newUsers }) => sum + newUsers, 0);
  for (const { arms } of sums) {
    const strays = arms.stable.users + arms.canary.users - users;
    if (strays <= STRAYS * arms.canary.users) continue;
    const words = `at least ${tidy(strays)} of ${tidy(users)} users were in both arms, though the weight did not change: is the arm drawn for each request?`;
    return { code: 'both-arms', words };
  }
  return null;
}

/** One person is no sample of an arm, however many requests there are. */
export function oneUser({ traffic }: GateTotals): Reason | null {
  for (const arm of arms) {
    const users = traffic.reduce((sum, row) => sum + (row.arm === arm ? row.newUsers : 0), 0);
    if (users === 1) return { code: 'one-user', words: `the ${arm} arm has one user only` };
  }
  return null;
}

/** Shares of scored requests that differ by more than this part are looked at. */
const UNEVEN = 0.1;
/** And are uneven beyond chance at p < .001, two-sided. */
const UNEVEN_Z = 3.29;

/**
 * Scores that one arm lacks more often than the other: who knows what they would have been (an answer that the judge cannot read, users who
 * say what they think only if they are content)? The error of the log ratio takes each user's scores for one observation: Kish's
 * Σn²/(Σn)² of each arm.
 */
export function unevenScores(
  { metric }: GateMetric,
  guard: string,
  { totals, sums }: GateFigures,
): Reason | null {
  if (metricInfo(metric)?.kind !== 'score') return null;
  const found = sums.find((sum) => sum.guard === guard);
  if (!found) return null;
  const of = (arm: Arm) => {
    const scored = totals.metrics.reduce(
      (n, row) => n + (row.metric === metric && row.arm === arm ? row.n : 0),
      0,
    );
    const requests = totals.traffic.reduce((n, row) => n + (row.arm === arm ? row.requests : 0), 0);
    return { share: scored / requests, variance: Number(found.arms[arm].n2) / scored ** 2 };
  };
  const [stable, canary] = [of('stable'), of('canary')];
  const ratio = canary.share / stable.share;
  const z = Math.abs(Math.log(ratio)) / Math.sqrt(stable.variance + canary.variance);
  if (Math.abs(ratio - 1) <= UNEVEN || !(z > UNEVEN_Z)) return null;
  const words = `${percent(canary.share)} of the canary's requests have a value of ${metric}, ${percent(stable.share)} of the stable arm's: those that are missing may be the bad ones`;
  return { code: 'uneven-scores', guard, words };
}

/**
 * What of the time up to a horizon was not measured: at least the first horizon's worth must have been, for every metric, so that a verdict
 * stands on whole weeks; and half of the time must have had traffic at all.
 */
export function coverageProblems(plan: GatePlan, totals: GateTotals): Reason[] {
  const slices = Math.floor((totals.to - totals.from) / totals.stratum);
  const wanted = Math.floor((plan.horizons[0]?.after ?? 0) / totals.stratum);
  const length = duration(totals.stratum);
  const busy = slicesWithTraffic(totals);
  if (2 * busy < slices) {
    const words = `both arms had requests in ${busy} of ${slices} slices of ${length}: that is not the traffic of a whole horizon`;
    return [{ code: 'not-covered', words }];
  }
  return plan.guards.flatMap(({ guard, metric: { metric } }): Reason[] => {
    const { silent } = coverageOf(metric, totals);
    const measured = slices - silent.length;
    if (silent.length === 0 || measured >= wanted) return [];
    const words = `${metric} was measured in ${measured} of ${slices} slices of ${length}, not in slice ${silent.map((slice) => slice + 1).join(', ')}; a verdict wants ${wanted}`;
    return [{ code: 'not-covered', guard, words }];
  });
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
