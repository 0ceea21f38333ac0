import type { Arm } from '../words.ts';
import { centredMean, type PairedStrata, pairStrata } from './influence.ts';
import { FIXED_POINT, guardId, metricInfo } from './metrics.ts';
import { tailThresholds, woodruffSe } from './quantile.ts';
import { effectiveSize, type RateOfArm } from './rare-rate.ts';
import type { ArmCounts, ArmInfluence, GateFigures, GateMetric, InfluenceSums } from './types.ts';

/** The difference of the arms for one guard, with users as clusters. Scale: the guard's (a difference, or ln of a ratio). */
export interface Estimate {
  arms: Record<Arm, ArmCounts>;
  /** canary − stable */
  difference: number;
  /** Variance of each arm's mean; never pooled. */
  variance: Record<Arm, number>;
  /** SE of the difference if both arms had the spread of all users together: what a small arm cannot know of itself. */
  guardSe: number;
  /** max(√(V_stable + V_canary), guardSe) */
  se: number;
  /** Welch–Satterthwaite, on users. */
  degreesOfFreedom: number;
  /** Means on the guard's scale. */
  means: Record<Arm, number>;
  /** For rates only. */
  rates: Record<Arm, RateOfArm> | null;
}

export type Unmeasured = 'no-common-stratum' | 'sparse-tail';

/** The estimate of a guard from both passes; says why if there is none. Never NaN. */
export function estimateOf(metric: GateMetric, figures: GateFigures): Estimate | Unmeasured {
  const paired = pairStrata(metric.metric, figures.totals);
  const id = guardId(metric);
  const sums = figures.sums.find((candidate) => candidate.guard === id);
  if (paired.pairs.length === 0 || !sums)
    return metric.scale === 'p95' && paired.pairs.length > 0 ? 'sparse-tail' : 'no-common-stratum';

  const arms = { stable: countsOf('stable', paired, sums), canary: countsOf('canary', paired, sums) };
  const users = arms.stable.users + arms.canary.users;
  const unit = (paired.scale * FIXED_POINT) ** 2;
  const own = (arm: Arm) => Number(sums.arms[arm].own2) / unit;
  // SE_0² = s0²(1/K_c + 1/K_t) term by term: the variance of an arm's mean if its users were drawn from all users.
  const alike = (arm: Arm, square: keyof ArmInfluence) => {
    const squares = Number(BigInt(sums.arms.stable[square]) + BigInt(sums.arms.canary[square])) / unit;
    return squares * (arms[arm].users / users) * (users / (users - 1));
  };
  const variance = { stable: own('stable'), canary: own('canary') };
  const ifAlike = { stable: alike('stable', 'asStable2'), canary: alike('canary', 'asCanary2') };

  if (metric.scale === 'p95')
    return quantileEstimate(metric.metric, figures, paired, arms, variance, ifAlike);

  const mean = (arm: Arm) =>
    paired.pairs.reduce((sum, pair) => sum + pair.weight * centredMean(pair[arm], paired.centre), 0);
  const centred = { stable: mean('stable'), canary: mean('canary') };
  const level = Number(paired.centre);
  const means = {
    stable: (level + centred.stable) / FIXED_POINT,
    canary: (level + centred.canary) / FIXED_POINT,
  };
  return {
    ...spread(variance, ifAlike, arms),
    arms,
    difference: (centred.canary - centred.stable) / FIXED_POINT,
    means,
    rates: metricInfo(metric.metric)?.kind === 'rate' ? ratesOf(sums, arms, means, ifAlike) : null,
  };
}

function countsOf(arm: Arm, paired: PairedStrata, sums: InfluenceSums): ArmCounts {
  return {
    users: sums.arms[arm].users,
    samples: paired.pairs.reduce((sum, pair) => sum + pair[arm].n, 0),
  };
}

function spread(
  variance: Record<Arm, number>,
  ifAlike: Record<Arm, number>,
  arms: Record<Arm, ArmCounts>,
): Pick<Estimate, 'variance' | 'guardSe' | 'se' | 'degreesOfFreedom'> {
  const total = variance.stable + variance.canary;
  const guardSe = Math.sqrt(ifAlike.stable + ifAlike.canary);
  const satterthwaite =
    total ** 2 /
    (variance.stable ** 2 / (arms.stable.users - 1) + variance.canary ** 2 / (arms.canary.users - 1));
  return {
    variance,
    guardSe,
    se: Math.max(Math.sqrt(total), guardSe),
    degreesOfFreedom: total > 0 ? satterthwaite : Math.min(arms.stable.users, arms.canary.users) - 1,
  };
}

function quantileEstimate(
  metric: string,
  figures: GateFigures,
  paired: PairedStrata,
  arms: Record<Arm, ArmCounts>,
  rankVariance: Record<Arm, number>,
  rankIfAlike: Record<Arm, number>,
): Estimate | Unmeasured {
  const thresholds = tailThresholds(metric, paired, figures.totals);
  if (!thresholds) return 'sparse-tail';
  const lnVariance = (arm: Arm, variance: number) => {
    const se = woodruffSe(metric, arm, paired, figures.totals, Math.sqrt(variance));
    return se === null ? null : se * se;
  };
  const own = {
    stable: lnVariance('stable', rankVariance.stable),
    canary: lnVariance('canary', rankVariance.canary),
  };
  const alike = {
    stable: lnVariance('stable', rankIfAlike.stable),
    canary: lnVariance('canary', rankIfAlike.canary),
  };
  if (own.stable === null || own.canary === null || alike.stable === null || alike.canary === null) {
    return 'sparse-tail';
  }
  const means = { stable: thresholds.stable.lnQuantile, canary: thresholds.canary.lnQuantile };
  return {
    ...spread(
      { stable: own.stable, canary: own.canary },
      { stable: alike.stable, canary: alike.canary },
      arms,
    ),
    arms,
    difference: means.canary - means.stable,
    means,
    rates: null,
  };
}

function ratesOf(
  sums: InfluenceSums,
  arms: Record<Arm, ArmCounts>,
  means: Record<Arm, number>,
  ifAlike: Record<Arm, number>,
): Record<Arm, RateOfArm> {
  const samples = arms.stable.samples + arms.canary.samples;
  const pooledRate = (means.stable * arms.stable.samples + means.canary * arms.canary.samples) / samples;
  const rate = (arm: Arm): RateOfArm => ({
    rate: Math.min(1, Math.max(0, means[arm])),
    effective: effectiveSize({
      requests: arms[arm].samples,
      squares: Number(sums.arms[arm].n2),
      eventUsers: sums.arms.stable.positive + sums.arms.canary.positive,
      pooledRate,
      pooledVariance: ifAlike[arm],
    }),
  });
  return { stable: rate('stable'), canary: rate('canary') };
}

/** The mean as people read it: undoes the logarithm. */
export function readable(metric: GateMetric, mean: number): number {
  return metric.scale === 'absolute' ? mean : Math.exp(mean);
}
