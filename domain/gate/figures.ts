import type { Arm } from '../words.ts';

/** What the gate judges: the sums of both passes over a release's users. Types only. */

// ---- pass 1: totals per arm and stratum --------------------------------------------------------------------------------------------

/**
 * A stratum is a slice of time in which the weight did not change: `stratumId({ at, from, length, phase })` of strata.ts, counted from the canary's start. The ledger stores the id.
 * A ramped weight begins a new phase; at a constant weight the phase is always 0.
 */
export interface TrafficTotals {
  arm: Arm;
  stratum: number;
  /** Users with at least one request in this arm and stratum. */
  users: number;
  /** Of those, the users whose first request of the whole experiment was in this stratum (in whichever arm they had then). */
  newUsers: number;
  requests: number;
  /** Users whose first failed request of the whole experiment was in this arm and stratum. */
  firstErrors: number;
}

export interface MetricTotals {
  metric: string;
  arm: Arm;
  stratum: number;
  /** Distinct users with a usable value. */
  users: number;
  /** Samples with a usable value. */
  n: number;
  /** Σ of ledger values: an exact integer. */
  sum: bigint;
  /** Σ of squares of the samples' ledger values: only the textbook reference figures need it. */
  squares: bigint;
}

export interface BucketTotals {
  metric: string;
  arm: Arm;
  stratum: number;
  bucket: number;
  /** Samples in the bucket. */
  n: number;
}

/** `not-finite`: NaN. `infinite`: ±∞. `outside-window`: dated outside the canary. */
export type UnusableReason = 'not-finite' | 'infinite' | 'out-of-range' | 'outside-window';

/** Samples of the release that carry a value which cannot be judged. None of them may vanish silently. */
export interface UnusableSamples {
  metric: string;
  arm: Arm;
  reason: UnusableReason;
  n: number;
}

export interface GateTotals {
  /** The canary began at `from`; the data are complete up to `to` (the watermark's time). ms since 1970. */
  from: number;
  to: number;
  /** Length of the strata, ms. */
  stratum: number;
  /** Share of users on the canary in each phase; a constant weight is one phase. */
  phases: { weight: number }[];
  traffic: TrafficTotals[];
  metrics: MetricTotals[];
  buckets: BucketTotals[];
  unusable: UnusableSamples[];
}

// ---- pass 2: squares of the users' influences ---------------------------------------------------------------------------------------

/** How the rows of one arm and stratum enter the influence of a user; every number is an IEEE double. */
export interface InfluenceRow {
  arm: Arm;
  stratum: number;
  /** Mean of the centred value in this arm and stratum; of both arms together. Ledger units. */
  mean: number;
  pooledMean: number;
  /** Coefficients, see `InfluenceRequest`. */
  own: number;
  asStable: number;
  asCanary: number;
}

/**
 * For each user-stratum row (n, sum) of the metric that has an InfluenceRow, with c = sum − centre·n (exact integer, then a double):
 *   own      = floor(row.own      · (c − row.mean·n)       + 0.5)
 *   asStable = floor(row.asStable · (c − row.pooledMean·n) + 0.5)
 *   asCanary = floor(row.asCanary · (c − row.pooledMean·n) + 0.5)
 * Each is an integer. Add them over the strata of one (arm, user), then square, then add over the users of the arm.
 * With `above`, the row's sum is not the stored one but, from the user's buckets, with `above[arm]`:
 *   sum = 1000000·Σ n(bucket > above.bucket) + above.part·n(bucket = above.bucket), centre = 0,
 * and n is the row's n of `user_totals` of the same metric.
 */
export interface InfluenceRequest {
  /** Of the guard: `guardId(metric)`. */
  guard: string;
  metric: string;
  /** Integer to subtract per sample. */
  centre: bigint;
  above: Record<Arm, { bucket: number; part: number }> | null;
  rows: InfluenceRow[];
}

export interface ArmInfluence {
  /** Distinct users of the arm with a usable value in any of the request's rows. */
  users: number;
  /** Users whose stored sum over those rows is > 0 (for rates: users with an event). With `above`: 0. */
  positive: number;
  /** Σ over users of (Σ n)². */
  n2: bigint;
  own2: bigint;
  asStable2: bigint;
  asCanary2: bigint;
}

export interface InfluenceSums {
  guard: string;
  arms: Record<Arm, ArmInfluence>;
}

export interface GateFigures {
  totals: GateTotals;
  sums: InfluenceSums[];
}
