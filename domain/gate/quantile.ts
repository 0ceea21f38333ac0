import type { Arm } from '../words.ts';
import { lnLowerBound } from './histogram.ts';
import type { PairedStrata } from './influence.ts';
import { FIXED_POINT } from './metrics.ts';
import type { GateTotals } from './types.ts';

/**
 * Clustered percentile: the 95th percentile of each arm, standardised to the same mix of strata, and its standard error with users as
 * clusters, by Woodruff's interval (1952; Francisco and Fuller 1991): the error of the distribution function at the percentile comes from
 * the users' exceedances (pass 2), and is carried over to the logarithm of the value through the distribution itself.
 */
export const PERCENTILE = 0.95;

/** Woodruff's interval is taken at ± this many standard errors, and divided by it again. */
const WOODRUFF_Z = 1.96;

export interface TailThreshold {
  /** ln of the percentile. */
  lnQuantile: number;
  /** Where the percentile lies: in this bucket; `part` millionths of the bucket lie above it. */
  above: { bucket: number; part: number };
  /** Mean exceedance by stratum, ledger units (1e6 = all samples). */
  exceedance: Map<number, number>;
}

type Distribution = { bucket: number; mass: number }[];

/** Distribution of an arm over the buckets, each stratum weighted by ω_d. Masses sum to 1; ascending. */
function standardised(metric: string, arm: Arm, paired: PairedStrata, totals: GateTotals): Distribution {
  const weightOf = new Map(paired.pairs.map((pair) => [pair.stratum, pair.weight / pair[arm].n]));
  const rows = totals.buckets
    .filter((row) => row.metric === metric && row.arm === arm && weightOf.has(row.stratum))
    .sort((a, b) => a.bucket - b.bucket || a.stratum - b.stratum);
  const masses: Distribution = [];
  for (const row of rows) {
    const mass = row.n * (weightOf.get(row.stratum) ?? 0);
    const last = masses.at(-1);
    if (last && last.bucket === row.bucket) last.mass += mass;
    else masses.push({ bucket: row.bucket, mass });
  }
  return masses;
}

/** Bucket and the share of it below probability p; null beyond the ends. */
function locate(distribution: Distribution, p: number): { bucket: number; below: number } | null {
  let cumulative = 0;
  if (p <= 0) return null;
  for (const { bucket, mass } of distribution) {
    if (cumulative + mass >= p) return { bucket, below: (p - cumulative) / mass };
    cumulative += mass;
  }
  return null;
}

function lnQuantileAt(distribution: Distribution, p: number): number | null {
  const place = locate(distribution, p);
  if (!place) return null;
  const low = lnLowerBound(place.bucket);
  return low + place.below * (lnLowerBound(place.bucket + 1) - low);
}

/** The percentile of both arms and the exceedances that pass 2 needs; null if an arm has no histogram. */
export function tailThresholds(
  metric: string,
  paired: PairedStrata,
  totals: GateTotals,
): Record<Arm, TailThreshold> | null {
  const stable = tailThreshold(metric, 'stable', paired, totals);
  const canary = tailThreshold(metric, 'canary', paired, totals);
  return stable && canary ? { stable, canary } : null;
}

function tailThreshold(
  metric: string,
  arm: Arm,
  paired: PairedStrata,
  totals: GateTotals,
): TailThreshold | null {
  const distribution = standardised(metric, arm, paired, totals);
  const place = locate(distribution, PERCENTILE);
  const lnQuantile = lnQuantileAt(distribution, PERCENTILE);
  if (!place || lnQuantile === null) return null;
  const above = { bucket: place.bucket, part: Math.round((1 - place.below) * FIXED_POINT) };
  const sums = new Map<number, number>();
  for (const row of totals.buckets) {
    if (row.metric !== metric || row.arm !== arm) continue;
    const part = row.bucket > above.bucket ? FIXED_POINT : row.bucket === above.bucket ? above.part : 0;
    sums.set(row.stratum, (sums.get(row.stratum) ?? 0) + row.n * part);
  }
  const exceedance = new Map(
    paired.pairs.map((pair) => [pair.stratum, (sums.get(pair.stratum) ?? 0) / pair[arm].n]),
  );
  return { lnQuantile, above, exceedance };
}

/**
 * Standard error of ln(percentile), from the standard error of the distribution function there (0–1). null if the tail is too sparse: the
 * upper limit lies beyond the data.
 */
export function woodruffSe(
  metric: string,
  arm: Arm,
  paired: PairedStrata,
  totals: GateTotals,
  rankSe: number,
): number | null {
  if (rankSe === 0) return 0;
  const distribution = standardised(metric, arm, paired, totals);
  const low = lnQuantileAt(distribution, PERCENTILE - WOODRUFF_Z * rankSe);
  const high = lnQuantileAt(distribution, PERCENTILE + WOODRUFF_Z * rankSe);
  return low === null || high === null ? null : (high - low) / (2 * WOODRUFF_Z);
}
