/**
 * Rates with few events or none, where a normal approximation says nothing: exact binomial limits on an effective sample size (Korn and
 * Graubard 1998, for survey proportions), joined for a difference by Zou and Donner's MOVER (2008).
 */
import { betaQuantile } from './distributions.ts';

/** Fewer (fractional) events than this are none: the beta quantile has no digits for such a shape. */
const NONE = 1e-6;

/** One-sided Clopper–Pearson upper limit at error α; `events` and `n` may be fractional. 0 events: 1 − α^(1/n), the rule of three. */
export function upperLimit(events: number, n: number, alpha: number): number {
  if (events < NONE) return 1 - alpha ** (1 / n);
  if (events >= n) return 1;
  return betaQuantile(1 - alpha, events + 1, n - events);
}

/** One-sided Clopper–Pearson lower limit at error α. */
export function lowerLimit(events: number, n: number, alpha: number): number {
  if (events < NONE) return 0;
  if (events >= n) return alpha ** (1 / n);
  return betaQuantile(alpha, events, n - events + 1);
}

export interface RateOfArm {
  /** 0–1 */
  rate: number;
  /** Independent requests that carry as much information as the clustered ones. */
  effective: number;
}

/** Upper and lower one-sided limits, each at error α, of the difference canary − stable. */
export function differenceLimits(
  stable: RateOfArm,
  canary: RateOfArm,
  alpha: number,
): { lower: number; upper: number } {
  const limits = (arm: RateOfArm) => ({
    low: lowerLimit(arm.rate * arm.effective, arm.effective, alpha),
    high: upperLimit(arm.rate * arm.effective, arm.effective, alpha),
  });
  const s = limits(stable);
  const c = limits(canary);
  const difference = canary.rate - stable.rate;
  return {
    lower: difference - Math.hypot(canary.rate - c.low, s.high - stable.rate),
    upper: difference + Math.hypot(c.high - canary.rate, stable.rate - s.low),
  };
}

/** Users with an event, in both arms together, from which the clustering of the events is estimated rather than assumed to be total. */
export const ENOUGH_EVENT_USERS = 10;

/**
 * Effective sample size of an arm: p(1−p)/V where V is the clustered variance of the arm's rate if both arms behave alike; with few event
 * users V says little and all requests of a user are taken to share their fate: Kish's (Σn)²/Σn². Never above the number of requests.
 */
export function effectiveSize(arm: {
  requests: number;
  squares: number;
  eventUsers: number;
  pooledRate: number;
  pooledVariance: number;
}): number {
  const kish = (arm.requests * arm.requests) / arm.squares;
  if (arm.eventUsers < ENOUGH_EVENT_USERS || !(arm.pooledVariance > 0)) return kish;
  const clustered = (arm.pooledRate * (1 - arm.pooledRate)) / arm.pooledVariance;
  return Math.min(arm.requests, Math.max(kish, clustered));
}
