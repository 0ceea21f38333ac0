import type { Arm } from '../words.ts';
import { guardId } from './metrics.ts';
import { tailThresholds } from './quantile.ts';
import type {
  ArmInfluence,
  GateMetric,
  GateTotals,
  InfluenceRequest,
  InfluenceRow,
  InfluenceSums,
  MetricTotals,
} from './types.ts';

/**
 * Pass 1 → pass 2: what each user contributes to the difference of the arms, to first order (the delta method for a ratio, Deng, Knoblich,
 * Lu, arXiv 1803.06336, extended to strata). A user who is there on many days is one cluster: the parts are added before they are squared.
 *
 * The difference is Δ = Σ_d ω_d (μ_canary,d − μ_stable,d) with Mantel–Haenszel weights ω_d ∝ n_c n_s / (n_c + n_s), the most precise ones
 * if the effect does not vary; a stratum without one of the arms gets no weight. User i of arm a contributes
 *   ψ_i = Σ_d √(K_ad/(K_ad−1)) · ω_d (S_id − μ_ad N_id) / n_ad,   V_a = Σ_i ψ_i²,
 * which with one stratum is exactly Σ(S − μN)² / ((K−1) K N̄²).
 */

/** Resolution of the integers: at least this many steps per ledger unit of a mean's influence. */
const RESOLUTION = 16;

export interface StratumPair {
  stratum: number;
  /** ω_d; they sum to 1. */
  weight: number;
  stable: MetricTotals;
  canary: MetricTotals;
}

export interface PairedStrata {
  pairs: StratumPair[];
  /** Samples over the pairs, both arms. */
  n: number;
  /** Integer near the overall mean of the ledger values: subtracted before any floating-point arithmetic. */
  centre: bigint;
  /** Power of two by which influences are scaled to integers. */
  scale: number;
}

/** The strata in which both arms can be compared: at least two users in each. Sorted, so the order of the input does not matter. */
export function pairStrata(metric: string, totals: GateTotals): PairedStrata {
  const byStratum = new Map<number, Partial<Record<Arm, MetricTotals>>>();
  for (const row of totals.metrics) {
    if (row.metric !== metric) continue;
    const pair = byStratum.get(row.stratum) ?? {};
    pair[row.arm] = row;
    byStratum.set(row.stratum, pair);
  }
  const pairs: StratumPair[] = [];
  let n = 0;
  let weights = 0;
  let sum = 0n;
  for (const stratum of [...byStratum.keys()].sort((a, b) => a - b)) {
    const { stable, canary } = byStratum.get(stratum) ?? {};
    if (!stable || !canary || stable.users < 2 || canary.users < 2) continue;
    const weight = (stable.n * canary.n) / (stable.n + canary.n);
    pairs.push({ stratum, weight, stable, canary });
    n += stable.n + canary.n;
    weights += weight;
    sum += stable.sum + canary.sum;
  }
  for (const pair of pairs) pair.weight /= weights;
  let scale = RESOLUTION;
  while (scale < RESOLUTION * n) scale *= 2;
  return { pairs, n, centre: n === 0 ? 0n : floorDivide(sum, BigInt(n)), scale };
}

/** Mean of the ledger values less `centre`; the subtraction is exact. */
export function centredMean(totals: { n: number; sum: bigint }, centre: bigint): number {
  return Number(totals.sum - centre * BigInt(totals.n)) / totals.n;
}

/** The requests of pass 2, one per guard that has data in both arms. */
export function influenceRequests(metrics: readonly GateMetric[], totals: GateTotals): InfluenceRequest[] {
  const requests: InfluenceRequest[] = [];
  for (const metric of metrics) {
    const paired = pairStrata(metric.metric, totals);
    if (paired.pairs.length === 0) continue;
    if (metric.scale === 'p95') {
      const thresholds = tailThresholds(metric.metric, paired, totals);
      if (!thresholds) continue;
      requests.push({
        guard: guardId(metric),
        metric: metric.metric,
        centre: 0n,
        above: { stable: thresholds.stable.above, canary: thresholds.canary.above },
        rows: paired.pairs.flatMap((pair) => {
          const mean = (arm: Arm) => thresholds[arm].exceedance.get(pair.stratum) ?? 0;
          const [stable, canary] = [mean('stable'), mean('canary')];
          return rowsOf(pair, paired.scale, { stable, canary }, { stable, canary });
        }),
      });
      continue;
    }
    requests.push({
      guard: guardId(metric),
      metric: metric.metric,
      centre: paired.centre,
      above: null,
      rows: paired.pairs.flatMap((pair) => {
        const { stable, canary } = pair;
        const pooled = centredMean({ n: stable.n + canary.n, sum: stable.sum + canary.sum }, paired.centre);
        const means = {
          stable: centredMean(stable, paired.centre),
          canary: centredMean(canary, paired.centre),
        };
        return rowsOf(pair, paired.scale, means, { stable: pooled, canary: pooled });
      }),
    });
  }
  return requests;
}

function rowsOf(
  pair: StratumPair,
  scale: number,
  means: Record<Arm, number>,
  pooled: Record<Arm, number>,
): InfluenceRow[] {
  const users = pair.stable.users + pair.canary.users;
  const n = pair.stable.n + pair.canary.n;
  // Samples that the arm would have if users of both arms were alike: gate.md's guard uses the pooled N̄.
  const evenShare = (arm: MetricTotals) => (arm.users / users) * n;
  return (['stable', 'canary'] as const).map((arm) => ({
    arm,
    stratum: pair.stratum,
    mean: means[arm],
    pooledMean: pooled[arm],
    own: (scale * Math.sqrt(pair[arm].users / (pair[arm].users - 1)) * pair.weight) / pair[arm].n,
    asStable: (scale * pair.weight) / evenShare(pair.stable),
    asCanary: (scale * pair.weight) / evenShare(pair.canary),
  }));
}

/** The sums over no users. */
export const nobody: ArmInfluence = {
  users: 0,
  positive: 0,
  n2: 0n,
  own2: 0n,
  asStable2: 0n,
  asCanary2: 0n,
};

/** The sums of the same requests over different users, added. */
export function addedSums(a: readonly InfluenceSums[], b: readonly InfluenceSums[]): InfluenceSums[] {
  return a.map((sums, index) => {
    const more = b[index];
    if (more?.guard !== sums.guard)
      throw new Error(`sums of ${sums.guard} and of ${more?.guard ?? 'nothing'}`);
    const { stable, canary } = sums.arms;
    return {
      guard: sums.guard,
      arms: { stable: added(stable, more.arms.stable), canary: added(canary, more.arms.canary) },
    };
  });
}

function added(a: ArmInfluence, b: ArmInfluence): ArmInfluence {
  return {
    users: a.users + b.users,
    positive: a.positive + b.positive,
    n2: a.n2 + b.n2,
    own2: a.own2 + b.own2,
    asStable2: a.asStable2 + b.asStable2,
    asCanary2: a.asCanary2 + b.asCanary2,
  };
}

function floorDivide(a: bigint, b: bigint): bigint {
  const quotient = a / b;
  return a % b !== 0n && a < 0n !== b < 0n ? quotient - 1n : quotient;
}
