import { oneSidedHalfWidth, tau2For } from './confidence-sequence.ts';
import { normalCritical } from './distributions.ts';
import { guardId, metricInfo } from './metrics.ts';
import { spendOverHorizons, splitByNeed } from './multiplicity.ts';
import { describe, refusalOf } from './plan-words.ts';
import {
  alphaToStop,
  powerIfEqual,
  powerToStop,
  ratePowerIfEqual,
  standardError,
  usersForPower,
  usersIfNoEvent,
} from './power.ts';
import type { GateBaseline, GateMetric, GatePlan, GatePolicy, GuardPlan, HorizonPlan } from './types.ts';
import { figure } from './wording.ts';

/**
 * Spreads of a user's influence that are assumed if nothing is known of the application: five requests a user, scores with SD 0.3 and an
 * intraclass correlation of 0.2, 1 % errors in runs of two, log-normal latencies with σ = 0.6; rounded up,
 * for users who are about equally active.
 */
const ASSUMED_SIGMA: Record<string, number> = {
  score: 0.2,
  error: 0.065,
  violation: 0.065,
  'latency/log-mean': 0.4,
  'latency/p95': 0.9,
  'ttft/log-mean': 0.4,
  'ttft/p95': 0.9,
  'tpot/log-mean': 0.3,
  'tpot/p95': 0.7,
  'cost/log-mean': 0.4,
};
const ASSUMED_OTHERWISE = 0.5;
/** And users as uneven in their activity as a geometric distribution makes them. */
const ASSUMED_EVENNESS = 0.5;
const ASSUMED_SAMPLES_PER_USER = 5;

/** The variance of a canary that answers more erratically, as a multiple of the stable arm's: no traffic before the release shows it. */
const NOISY = 2;

/**
 * The plan: fixed and stored before the canary begins. Splits the α, picks the horizon at which a canary equal to the stable arm is expected
 * to be promoted, and tunes each confidence sequence to the standard error expected there. Without a baseline the spreads are documented
 * defaults, the expected horizon is the first one, and the plan says so. It refuses (`refusal`) a policy that cannot succeed within
 * its last horizon. Throws RangeError for a policy whose numbers are out of range.
 */
export function planGate(policy: GatePolicy, baseline: GateBaseline | null): GatePlan {
  check(policy, baseline);
  const firstErrorTests = policy.metrics.filter(hasFirstErrorTest).length;
  const evenShare = policy.alpha.harm / (policy.metrics.length + firstErrorTests);
  const spreads = policy.metrics.map((metric) => sigmaOf(metric, baseline));
  const shares = sharesOfAlpha(policy, evenShare, spreads);
  const last = policy.horizons.length - 1;

  const design = (expected: number) => {
    const alphas = spendOverHorizons(policy.alpha.nonInferiority, policy.horizons.length, expected);
    const horizons = policy.horizons.map((after, index): Omit<HorizonPlan, 'usersNeeded'> => {
      const users = baseline ? (baseline.users[index] ?? 0) : null;
      const alpha = alphas[index] ?? 0;
      return {
        after,
        alpha,
        users,
        power: users === null ? null : jointPower(policy, baseline, users, alpha),
      };
    });
    return { expected, horizons };
  };
  let chosen = design(0);
  if (baseline) {
    for (let index = 0; index <= last; index += 1) {
      chosen = design(index);
      if ((chosen.horizons[index]?.power ?? 0) >= policy.power) break;
    }
  }
  const { expected, horizons } = chosen;
  const alphaAtExpected = horizons[expected]?.alpha ?? policy.alpha.nonInferiority;
  const usersAtExpected = horizons[expected]?.users ?? null;

  const neededAt = new Map<number, number>();
  for (const alpha of new Set(horizons.map((horizon) => horizon.alpha))) {
    const users = usersForPower((some) => jointPower(policy, baseline, some, alpha), policy.power);
    neededAt.set(alpha, users);
  }
  const needed = neededAt.get(alphaAtExpected) ?? 0;
  // Holm's first step: any of the success metrics suffices, each tested at its share.
  const successes = policy.metrics.filter(({ role }) => role === 'success').length;
  const smallestGain = (se: number) =>
    (normalCritical(alphaAtExpected / successes) + normalCritical(1 - policy.power)) * se;
  const guards = policy.metrics.map((metric, index): GuardPlan => {
    const { sigma, assumed } = spreads[index] ?? sigmaOf(metric, baseline);
    // Rounded as the plan keeps it: what is planned with is what is used.
    const alphaHarm = figure(shares[index] ?? 0);
    const tolerance = toleranceOf(metric);
    const alone = usersForPower(
      (users) => powerOfGuard(policy, baseline, metric, alphaAtExpected, users),
      policy.power,
    );
    const sePlan = standardError(sigma, usersAtExpected ?? needed, policy.weight);
    const tau2 = tau2For(sePlan, alphaHarm, 1);
    const seen =
      tolerance + oneSidedHalfWidth(sePlan, tau2, alphaHarm) + normalCritical(1 - policy.power) * sePlan;
    return {
      guard: guardId(metric),
      metric,
      tolerance: figure(tolerance),
      alphaHarm,
      alphaFirstError: hasFirstErrorTest(metric) ? figure(evenShare) : 0,
      sigma: figure(sigma),
      assumed,
      sePlan: figure(sePlan),
      tau2: figure(tau2),
      usersNeeded: alone,
      usersToStopTwoMargins: usersForPower(
        (users) =>
          powerToStop({
            se: standardError(sigma, users, policy.weight),
            alpha: alphaHarm,
            distance: tolerance,
          }),
        policy.power,
      ),
      canaryUsersIfNoEvent: ifNoEvent(metric, baseline, alphaAtExpected),
      smallestHarm: figure(seen),
      smallestHarmAsMargin: figure(asMargin(metric, seen)),
      smallestGainAsMargin:
        metric.role === 'success' ? figure(gainAsMargin(metric, smallestGain(sePlan))) : null,
    };
  });
  const neediest = guards.reduce((a, b) => (b.usersNeeded > a.usersNeeded ? b : a));
  const plan: GatePlan = {
    version: 1,
    policy,
    guards,
    horizons: horizons.map((horizon) => ({
      ...horizon,
      usersNeeded: neededAt.get(horizon.alpha) ?? 0,
      alpha: figure(horizon.alpha),
      power: horizon.power === null ? null : figure(horizon.power),
    })),
    expectedHorizon: expected,
    usersNeeded: needed,
    usersNeededIfNoisy: usersForPower(
      (users) => jointPower(policy, baseline, users, alphaAtExpected, NOISY),
      policy.power,
    ),
    usersToStopTwoMargins: Math.max(...guards.map((guard) => guard.usersToStopTwoMargins)),
    assumed: baseline === null || guards.some((guard) => guard.assumed),
    refusal: null,
    words: [],
  };
  plan.refusal = refusalOf(plan, neediest, usersForMinimums(policy, baseline));
  plan.words = describe(plan);
  return plan;
}

/**
 * α of each guard's sequence: more for those that need more users. Even shares keep those whose need is not known for want of earlier traffic,
 * and one with a first-error test beside it, which sees a harm long before the sequence does.
 */
function sharesOfAlpha(
  policy: GatePolicy,
  evenShare: number,
  spreads: readonly { sigma: number; assumed: boolean }[],
): number[] {
  const alone = policy.metrics.flatMap((metric, index) =>
    hasFirstErrorTest(metric) || spreads[index]?.assumed !== false ? [] : [index],
  );
  const split = splitByNeed(evenShare * alone.length, alone.length, (test, users) => {
    const index = alone[test] ?? -1;
    const [metric, spread] = [policy.metrics[index], spreads[index]];
    if (!metric || !spread) throw new RangeError(`no metric ${index}`);
    const se = standardError(spread.sigma, users, policy.weight);
    return alphaToStop({ se, distance: toleranceOf(metric), power: policy.power });
  });
  return policy.metrics.map((_, index) => split[alone.indexOf(index)] ?? evenShare);
}

/** The margin on the scale of the estimate: ln(1 + margin) for a ratio that must not grow, −ln(1 − margin) for one that must not shrink. */
export function toleranceOf(metric: GateMetric): number {
  if (metric.scale === 'absolute') return metric.margin;
  return metric.direction === 'lower' ? Math.log1p(metric.margin) : -Math.log1p(-metric.margin);
}

/** An effect on the estimate's scale, written like a margin. */
function asMargin(metric: GateMetric, effect: number): number {
  if (metric.scale === 'absolute') return effect;
  return metric.direction === 'lower' ? Math.expm1(effect) : -Math.expm1(-effect);
}

function gainAsMargin(metric: GateMetric, effect: number): number {
  if (metric.scale === 'absolute') return effect;
  return metric.direction === 'lower' ? -Math.expm1(-effect) : Math.expm1(effect);
}

export function hasFirstErrorTest(metric: GateMetric): boolean {
  return metric.metric === 'error' && metric.direction === 'lower' && metric.scale === 'absolute';
}

function sigmaOf(metric: GateMetric, baseline: GateBaseline | null): { sigma: number; assumed: boolean } {
  const known = baseline?.sigma[guardId(metric)];
  if (known !== undefined && known > 0) return { sigma: known, assumed: false };
  // A rate that never happened before the release is not known to vary; the default stands in for it.
  const key = metricInfo(metric.metric)?.kind === 'score' ? 'score' : guardId(metric);
  return { sigma: ASSUMED_SIGMA[key] ?? ASSUMED_OTHERWISE, assumed: true };
}

/** Users without any event that the exact limit of a rate needs on the canary, for users as uneven as the baseline's; 0 if not a rate. */
function ifNoEvent(metric: GateMetric, baseline: GateBaseline | null, alpha: number): number {
  return isRate(metric) ? Math.ceil(usersIfNoEvent(metric.margin, alpha) / activityOf(baseline).evenness) : 0;
}

/**
 * Chance that one guard is found non-inferior with so many users of both arms, if the arms are equal. `noise`: the variance of the canary's
 * values as a multiple of the stable arm's; that of a rate follows from the rate.
 */
function powerOfGuard(
  policy: GatePolicy,
  baseline: GateBaseline | null,
  metric: GateMetric,
  alpha: number,
  users: number,
  noise = 1,
): number {
  const { sigma } = sigmaOf(metric, baseline);
  const design = { sigma, alpha, q: policy.weight, tolerance: toleranceOf(metric) };
  if (!isRate(metric)) {
    // The canary's share of the variance is 1 − q of the whole: it is the smaller arm.
    const se =
      standardError(sigma, users, policy.weight) * Math.sqrt(noise * (1 - policy.weight) + policy.weight);
    return powerIfEqual({ ...design, se });
  }
  const byNormal = powerIfEqual({ ...design, se: standardError(sigma, users, policy.weight) });
  const rate = baseline?.rates[guardId(metric)];
  if (rate !== undefined && rate > 0) {
    return ratePowerIfEqual({ ...design, ...activityOf(baseline), rate }, users);
  }
  if (users * policy.weight < ifNoEvent(metric, baseline, alpha)) return 0;
  return rate === 0 ? 1 : byNormal;
}

/** At least 1 − Σ(1 − power of each guard), whatever their dependence; 0 if the policy's users or samples are not reached. */
function jointPower(
  policy: GatePolicy,
  baseline: GateBaseline | null,
  users: number,
  alpha: number,
  noise = 1,
): number {
  const smallest = users * Math.min(policy.weight, 1 - policy.weight);
  if (smallest < policy.minUsers || smallest * activityOf(baseline).samplesPerUser < policy.minSamples)
    return 0;
  const misses = policy.metrics.reduce(
    (sum, metric) => sum + 1 - powerOfGuard(policy, baseline, metric, alpha, users, noise),
    0,
  );
  return Math.max(0, 1 - misses);
}

/** Users of both arms together that bring the policy's users and samples to the smaller arm. */
function usersForMinimums(policy: GatePolicy, baseline: GateBaseline | null): number {
  const inArm = Math.max(policy.minUsers, policy.minSamples / activityOf(baseline).samplesPerUser);
  return inArm / Math.min(policy.weight, 1 - policy.weight);
}

function activityOf(baseline: GateBaseline | null): { samplesPerUser: number; evenness: number } {
  return {
    samplesPerUser: baseline?.samplesPerUser ?? ASSUMED_SAMPLES_PER_USER,
    evenness: baseline?.evenness ?? ASSUMED_EVENNESS,
  };
}

function isRate(metric: GateMetric): boolean {
  return metricInfo(metric.metric)?.kind === 'rate' && metric.scale === 'absolute';
}

function check(policy: GatePolicy, baseline: GateBaseline | null): void {
  const share = (name: string, value: number) => {
    if (!(value > 0 && value < 1)) throw new RangeError(`${name} must lie between 0 and 1, not ${value}`);
  };
  share('weight', policy.weight);
  share('alpha.harm', policy.alpha.harm);
  share('alpha.nonInferiority', policy.alpha.nonInferiority);
  share('power', policy.power);
  if (policy.alpha.harm >= 0.5) throw new RangeError('alpha.harm must be below 0.5');
  if (!(policy.stratum > 0)) throw new RangeError('stratum must be a positive duration');
  if (policy.metrics.length === 0) throw new RangeError('metrics must name at least one metric');
  if (policy.horizons.length === 0) throw new RangeError('horizons must name at least one horizon');
  for (const [index, horizon] of policy.horizons.entries()) {
    if (!(horizon > (policy.horizons[index - 1] ?? 0))) throw new RangeError('horizons must rise');
  }
  const seen = new Set<string>();
  for (const metric of policy.metrics) {
    const id = guardId(metric);
    const kind = metricInfo(metric.metric)?.kind;
    if (!kind) throw new RangeError(`metric ${metric.metric} is not known`);
    if (seen.has(id)) throw new RangeError(`metric ${id} is named twice`);
    seen.add(id);
    if (!(metric.margin > 0) || !Number.isFinite(metric.margin))
      throw new RangeError(`margin of ${id} must be > 0`);
    if ((kind === 'positive') !== (metric.scale !== 'absolute')) {
      throw new RangeError(
        `${metric.metric} is judged on ${kind === 'positive' ? 'log-mean or p95' : 'absolute'}, not ${metric.scale}`,
      );
    }
    if (metric.scale !== 'absolute' && metric.direction === 'higher' && metric.margin >= 1) {
      throw new RangeError(`margin of ${id} must be below 1`);
    }
  }
  if (baseline && baseline.users.length !== policy.horizons.length) {
    throw new RangeError('the baseline must expect users for each horizon');
  }
}
