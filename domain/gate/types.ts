import type { Arm } from '../words.ts';
import type { GateMetric, GatePolicy } from './policy.ts';

/**
 * The contract of the gate with the policy, the ledger, the activities and the workflow. Values only: it may be imported anywhere.
 *
 * How a judgement runs (the same for Postgres and for memory, with results equal to the last byte):
 *   1. `plan = planGate(policy, baseline)` before the canary begins, stored.
 *   2. pass 1: `totals: GateTotals` — sums per arm and stratum, a tiny table whatever the traffic.
 *   3. `requests = influenceRequests(plan.policy.metrics, totals)` — pure: what each user's influence on the estimate is.
 *   4. pass 2: `sums: InfluenceSums[]` — per request one scan over the per-user rows, squares summed as integers.
 *   5. `look(plan, { totals, sums }, now)` at any hour, `judge(plan, { totals, sums }, horizonIndex)` at a horizon.
 * Every sum over users is an exact integer, so order, batching and parallel query plans cannot change a verdict.
 *
 * What the ledger stores, per release:
 *   - `user_totals(arm, stratum, user, metric, n, sum)`: n = samples with a usable value, sum = Σ of `ledgerValue(metric, value)`, an integer
 *     (fixed point, 1e-6 of the metric's unit; of its natural logarithm for latency, ttft, tpot and cost). See metrics.ts.
 *   - `user_buckets(arm, stratum, metric, bucket, user, n)`: per-user-day histogram of the metrics judged by p95; `bucketOf(value)`, see
 *     histogram.ts. An index that begins (arm, stratum, metric, bucket) lets pass 2 read the top 5 % only.
 *   - `user_traffic(arm, stratum, user, requests, errored)`: every request of a user, with or without values.
 *   - `stratum_totals(arm, stratum, metric, n, sum, squares)` and `stratum_buckets(arm, stratum, metric, bucket, n)`: the same summed over
 *     users, kept beside in the same transaction, so that pass 1 reads no users but for the distinct counts.
 *   - the number of samples it could not use, by reason (`UnusableSamples`).
 */

export * from './figures.ts';
export * from './policy.ts';

// ---- the plan --------------------------------------------------------------------------------------------------------------------

/** What is known of the traffic before the release: from the ledger's users of the stable revision (`baselineOf`). */
export interface GateBaseline {
  /** Users expected at each horizon, both arms together; as many as the policy has horizons. */
  users: number[];
  /** Samples per user. */
  samplesPerUser: number;
  /** How even users are in their activity: Kish's (Σn)²/(K Σn²), 1 if all make as many requests. 0 < evenness ≤ 1 */
  evenness: number;
  /** By guard id: spread of a user's influence, σ_L = √(Var(S − μN)) / N̄, in the guard's scale (ln for log-mean and p95). */
  sigma: Record<string, number>;
  /** By guard id, for rates: events per request, 0–1. */
  rates: Record<string, number>;
}

export interface GuardPlan {
  guard: string;
  metric: GateMetric;
  /** The margin on the estimate's scale, > 0: ln(1 + margin) or −ln(1 − margin) for ratios. */
  tolerance: number;
  /** α of this guard's confidence sequence; with `alphaFirstError` they add up to alpha.harm. */
  alphaHarm: number;
  /** α of the first-error test that stands beside an error rate, else 0. */
  alphaFirstError: number;
  sigma: number;
  /** Was sigma assumed, for lack of a baseline? */
  assumed: boolean;
  /** Standard error expected at the expected horizon: where the confidence sequence is tightest. */
  sePlan: number;
  /** τ² of the confidence sequence (gate.md (a)). */
  tau2: number;
  /** Users of both arms together for this guard alone to be found non-inferior with the policy's power. */
  usersNeeded: number;
  /** Users of both arms together with which a harm of two margins is stopped by the expected horizon with the policy's power. */
  usersToStopTwoMargins: number;
  /** Users on the canary that a rate without any event needs (exact, for users as uneven as the baseline's); 0 if not a rate. */
  canaryUsersIfNoEvent: number;
  /** The smallest harm that the sequence stops by the expected horizon with the policy's power; estimate's scale and as the policy writes it. */
  smallestHarm: number;
  smallestHarmAsMargin: number;
  /** Of a success metric, the smallest gain that is found by the expected horizon with the policy's power, as a margin is written; else null. */
  smallestGainAsMargin: number | null;
}

export interface HorizonPlan {
  /** ms after the start. */
  after: number;
  /** Share of alpha.nonInferiority that is spent here; they add up to it. */
  alpha: number;
  /** Users of both arms expected by then; null without a baseline. */
  users: number | null;
  /** Users of both arms for all guards to be found non-inferior here with the policy's power, and for the policy's users and samples. */
  usersNeeded: number;
  /**
   * Chance that a canary equal to the stable arm is found non-inferior by every guard here, and so promoted unless a success metric must be
   * better; null without a baseline.
   */
  power: number | null;
}

export interface PlanRefusal {
  code: 'POLICY_CANNOT_SUCCEED';
  words: string;
  guard: string;
  usersNeeded: number;
  usersExpected: number;
}

/** Fixed and stored before the canary begins; everything that a look or a verdict needs besides the data. */
export interface GatePlan {
  version: 1;
  policy: GatePolicy;
  guards: GuardPlan[];
  horizons: HorizonPlan[];
  /** Index into `horizons`. */
  expectedHorizon: number;
  /** Users of both arms together for all guards to be found non-inferior with the policy's power. */
  usersNeeded: number;
  /** The same if the canary's values vary twice as much as the stable arm's, which no traffic before the release can tell. */
  usersNeededIfNoisy: number;
  /** Users of both arms together for a harm of two margins of any guard to be stopped by the expected horizon with the policy's power. */
  usersToStopTwoMargins: number;
  /** True if there was no baseline and the spreads are documented defaults. */
  assumed: boolean;
  /** Set if the policy cannot succeed within its last horizon. */
  refusal: PlanRefusal | null;
  /** The plan for people: how long, how many, the smallest harm it sees. */
  words: string[];
}

// ---- looks and verdicts -------------------------------------------------------------------------------------------------------------

/** ok: measured and not breached. Failed: a bad value. Error: could not measure. */
export type LookState = 'ok' | 'Failed' | 'Error';

export interface Reason {
  /** Stable, for scripts. */
  code: ReasonCode;
  /** The guard or metric, if the reason belongs to one. */
  guard?: string;
  words: string;
}

export type ReasonCode =
  // harm
  | 'harm'
  | 'first-errors'
  // could not measure
  | 'no-samples'
  | 'one-arm'
  | 'too-few-users'
  | 'too-few-samples'
  | 'zero-variance'
  | 'not-finite'
  | 'infinite'
  | 'out-of-range'
  | 'clock'
  | 'metric-missing'
  | 'metric-silent'
  | 'not-covered'
  | 'uneven-scores'
  | 'one-user'
  | 'no-common-stratum'
  | 'sparse-tail'
  // unsound
  | 'sample-ratio'
  | 'both-arms'
  // the horizon
  | 'not-yet-horizon'
  | 'not-non-inferior'
  | 'not-superior'
  | 'horizons-spent'
  | 'non-inferior'
  | 'superior';

export interface ArmCounts {
  users: number;
  samples: number;
}

export interface GuardLook {
  guard: string;
  /** Samples and users of each arm that have a value of the metric. */
  stable: ArmCounts;
  canary: ArmCounts;
  /** Canary − stable on the estimate's scale (difference; ln ratio for log-mean and p95); null if not measured. */
  estimate: number | null;
  se: number | null;
  /** Two-sided interval, valid at every look at once, at 2·alphaHarm; null if not measured. */
  interval: [number, number] | null;
  /** The worst effect that is tolerated, signed on the estimate's scale: the line that the interval must cross to stop the canary. */
  limit: number;
  breached: boolean;
  state: LookState;
  reason: Reason | null;
}

export interface Look {
  /** ms since 1970 */
  time: number;
  /** ms since the canary began */
  elapsed: number;
  /** Failed if any guard failed; else Error if something could not be measured or the sample ratio is broken beyond doubt. */
  state: LookState;
  /** Must the canary be rolled back now? */
  harm: boolean;
  guards: GuardLook[];
  firstErrors: {
    stable: number;
    canary: number;
    evidence: number;
    threshold: number;
    breached: boolean;
  } | null;
  sampleRatio: { stable: number; canary: number; lnBayesFactor: number; pValue: number; broken: boolean };
  reasons: Reason[];
}

export type Decision = 'promote' | 'rollback' | 'continue' | 'invalid';

export interface GuardVerdict extends GuardLook {
  /** One-sided bound at this horizon's α towards harm, canary − stable on the estimate's scale; null if not measured. */
  bound: number | null;
  degreesOfFreedom: number | null;
  nonInferior: boolean;
  /** For success metrics: p of "not better", after Holm; null for guards. */
  superiorityP: number | null;
  superior: boolean | null;
  /** Means (geometric, or p95, where the scale says so) of the arms in the metric's unit. */
  stableMean: number | null;
  canaryMean: number | null;
  reference: ReferenceFigures | null;
}

/** Textbook figures that treat requests as independent. For reference: they never decide. */
export interface ReferenceFigures {
  reference: true;
  welchT: number;
  degreesOfFreedom: number;
  p: number;
  cohensD: number;
  /** Relative difference of the means; null if the stable mean is 0. */
  lift: number | null;
  interval95: [number, number];
}

export interface Verdict {
  version: 1;
  decision: Decision;
  reasons: Reason[];
  horizon: { index: number; after: number; last: boolean; alpha: number; alphaSpent: number };
  elapsed: number;
  arms: Record<Arm, ArmCounts>;
  guards: GuardVerdict[];
  firstErrors: Look['firstErrors'];
  sampleRatio: {
    expectedCanary: number;
    canary: number;
    users: number;
    chiSquare: number;
    pValue: number;
    broken: boolean;
  };
  /** Digests of the plan and of the figures that it was made from. */
  planDigest: string;
  figuresDigest: string;
}
