/** The chance that a canary equal to the stable arm is promoted, by one guard and by all of them together. */
import { activityOf, sigmaOf } from './assumptions.ts';
import { toleranceOf } from './margin.ts';
import { guardId, metricInfo } from './metrics.ts';
import { powerIfEqual, ratePowerIfEqual, standardError, usersIfNoEvent } from './power.ts';
import type { GateBaseline, GateMetric, GatePolicy } from './types.ts';

/** Users without any event that the exact limit of a rate needs on the canary, for users as uneven as the baseline's; 0 if not a rate. */
export function ifNoEvent(metric: GateMetric, baseline: GateBaseline | null, alpha: number): number {
  return isRate(metric) ? Math.ceil(usersIfNoEvent(metric.margin, alpha) / activityOf(baseline).evenness) : 0;
}

/**
 * Chance that one guard is found non-inferior with so many users of both arms, if the arms are equal. `noise`: the variance of the canary's
 * values as a multiple of the stable arm's; that of a rate follows from the rate.
 */
export function powerOfGuard(
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
export function jointPower(
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
export function usersForMinimums(policy: GatePolicy, baseline: GateBaseline | null): number {
  const inArm = Math.max(policy.minUsers, policy.minSamples / activityOf(baseline).samplesPerUser);
  return inArm / Math.min(policy.weight, 1 - policy.weight);
}

function isRate(metric: GateMetric): boolean {
  return metricInfo(metric.metric)?.kind === 'rate' && metric.scale === 'absolute';
}
