import { sigmaOf } from './assumptions.ts';
import { oneSidedHalfWidth, tau2For } from './confidence-sequence.ts';
import { normalCritical } from './distributions.ts';
import { gainAsMargin, harmAsMargin, toleranceOf } from './margin.ts';
import { guardId } from './metrics.ts';
import { spendOverHorizons, splitByNeed } from './multiplicity.ts';
import { describe, refusalOf } from './plan-words.ts';
import { checkPolicy } from './policy-check.ts';
import { alphaToStop, powerToStop, standardError, usersForPower } from './power.ts';
import { ifNoEvent, jointPower, powerOfGuard, usersForMinimums } from './promotion-power.ts';
import type { GateBaseline, GateMetric, GatePlan, GatePolicy, GuardPlan, HorizonPlan } from './types.ts';
import { figure } from './wording.ts';

/** The variance of a canary that answers more erratically, as a multiple of the stable arm's: no traffic before the release shows it. */
const NOISY = 2;

/**
 * The plan: fixed and stored before the canary begins. Splits the α, picks the horizon at which a canary equal to the stable arm is expected
 * to be promoted, and tunes each confidence sequence to the standard error expected there. Without a baseline the spreads are documented
 * defaults, the expected horizon is the first one, and the plan says so. It refuses (`refusal`) a policy that cannot succeed within
 * its last horizon. Throws RangeError for a policy whose numbers are out of range.
 */
export function planGate(policy: GatePolicy, baseline: GateBaseline | null): GatePlan {
  checkPolicy(policy);
  if (baseline && baseline.users.length !== policy.horizons.length) {
    throw new RangeError('the baseline must expect users for each horizon');
  }
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
      smallestHarmAsMargin: figure(harmAsMargin(metric, seen)),
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

function hasFirstErrorTest(metric: GateMetric): boolean {
  return metric.metric === 'error' && metric.direction === 'lower' && metric.scale === 'absolute';
}
