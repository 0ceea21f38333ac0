import { defaultGatePolicy, type GatePolicy } from '../gate/types.ts';
import type { ScalingPolicy } from '../serving/serving.ts';

/**
 * How a release decides. All durations are milliseconds here; in YAML they are `90s`, `5m`, `12h`, `7d`.
 * The default is the honest week; an example compresses it by configuration only.
 */
export interface Policy {
  evaluation: EvaluationPolicy;
  serving: ServingPolicy;
  canary: CanaryPolicy;
  gate: Omit<GatePolicy, 'weight'>;
  signOff: SignOffPolicy;
  promotion: PromotionPolicy;
  baking: { duration: number };
}

export interface EvaluationPolicy {
  /** Golden set, `name@n`. */
  goldenSet: string;
  /** Share of cases that must pass, 0–1; the candidate needs more than this. */
  minAccuracy: number;
  /** p95 of the answer's latency over the golden set must stay below. */
  maxP95: number;
}

export interface ServingPolicy {
  /** A serving of its own for the candidate, even when another one has the same model and flags. */
  dedicated: boolean;
  /** Provisioning fails when the serving is not ready within. */
  readyWithin: number;
  scaling: ScalingPolicy;
}

export interface CanaryPolicy {
  /** Share of users on the canary arm while the gate collects, 0 < weight ≤ 0.5. */
  weight: number;
  /** The gate says promote no earlier, whatever its horizons. */
  minDuration: number;
  /** Guards on Prometheus: coarse and fast; the ledger's confidence sequences do the statistics. */
  guards: GuardPolicy[];
  /** Rate window of the guards' queries. */
  guardWindow: number;
  /** A guard with fewer requests than this on either arm in its window has nothing to say yet. */
  guardMinRequests: number;
  /** Without one measurable look for this long the release fails closed (invariant 4). */
  maxAge: number;
  /** Share of answers that the online evaluator scores, 0–1, the same on both arms. */
  scoredShare: number;
}

export const guardMetrics = ['errors', 'latency-p95', 'ttft-p95', 'violations', 'cost'] as const;
export type GuardMetric = (typeof guardMetrics)[number];

/** A breach: canary > stable × `ratio` + `plus`. */
export interface GuardPolicy {
  metric: GuardMetric;
  ratio: number;
  plus: number;
}

export interface SignOffPolicy {
  required: boolean;
  /** Nobody signed for this long: the release is rolled back. */
  timeout: number;
}

export interface PromotionPolicy {
  /** Weights after the sign-off, rising, the last one 1. */
  steps: number[];
  /** How long the guards watch each step before the next. */
  hold: number;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const { weight: defaultWeight, ...gate } = defaultGatePolicy;

export const defaultScaling: ScalingPolicy = {
  by: 'slipway',
  minReplicas: 1,
  maxReplicas: 10,
  target: 0.8,
  shrinkBelow: 0.3,
  shrinkAfter: 10 * MINUTE,
  maxCostPerHour: null,
  gpuHourPrice: null,
};

/** The default policy; a release must still name its golden set. */
export const defaultPolicy: Omit<Policy, 'evaluation'> & { evaluation: Omit<EvaluationPolicy, 'goldenSet'> } =
  {
    evaluation: { minAccuracy: 0.85, maxP95: 5 * SECOND },
    serving: { dedicated: false, readyWithin: 10 * MINUTE, scaling: defaultScaling },
    canary: {
      weight: defaultWeight,
      minDuration: 7 * DAY,
      guards: [
        { metric: 'errors', ratio: 1, plus: 0.05 },
        { metric: 'latency-p95', ratio: 1.5, plus: 0.5 },
        { metric: 'ttft-p95', ratio: 2, plus: 0.25 },
        { metric: 'violations', ratio: 1, plus: 0.05 },
        { metric: 'cost', ratio: 1.5, plus: 0 },
      ],
      guardWindow: 5 * MINUTE,
      guardMinRequests: 50,
      maxAge: DAY,
      scoredShare: 0.2,
    },
    gate,
    signOff: { required: true, timeout: 7 * DAY },
    promotion: { steps: [0.25, 0.5, 1], hold: HOUR },
    baking: { duration: DAY },
  };
