/**
 * How many users a comparison needs, and what it can see. σ is the spread of a user's influence, √(Var(S − μN)) / N̄, alike in both arms;
 * q is the share of users on the canary; K counts the users of both arms together.
 */
import { oneSidedHalfWidth, tau2For } from './confidence-sequence.ts';
import { normalCritical, normalUpperTail } from './distributions.ts';
import { differenceLimits, ENOUGH_EVENT_USERS } from './rare-rate.ts';

/** The judged error is the larger of two estimates (the small-arm guard), and so some 3 % above either: measured by the benchmark. */
const LARGER_OF_TWO = 1.03;

/** Standard error of the difference to expect: σ / √(K q (1 − q)), and 3 % for the small-arm guard. */
export function standardError(sigma: number, users: number, q: number): number {
  return (LARGER_OF_TWO * sigma) / Math.sqrt(users * q * (1 - q));
}

/** Power of the non-inferiority test if the arms are equal. */
export function powerIfEqual(design: { se: number; alpha: number; tolerance: number }): number {
  return normalUpperTail(normalCritical(design.alpha) - design.tolerance / design.se);
}

/**
 * Power of a confidence sequence, tuned to this standard error, to stop a harm that lies `distance` beyond the limit by the time when the
 * standard error is reached (looks before that only add to it).
 */
export function powerToStop(design: { se: number; alpha: number; distance: number }): number {
  const width = oneSidedHalfWidth(design.se, tau2For(design.se, design.alpha, 1), design.alpha);
  return normalUpperTail((width - design.distance) / design.se);
}

/** The least α of a confidence sequence with which `powerToStop` reaches the power; 0.49 if none does. */
export function alphaToStop(design: { se: number; distance: number; power: number }): number {
  const reaches = (lnAlpha: number) =>
    powerToStop({ se: design.se, distance: design.distance, alpha: Math.exp(lnAlpha) }) >= design.power;
  let [low, high] = [Math.log(1e-9), Math.log(0.49)];
  if (reaches(low)) return Math.exp(low);
  for (let step = 0; step < 30; step += 1) {
    const middle = (low + high) / 2;
    if (reaches(middle)) high = middle;
    else low = middle;
  }
  return Math.exp(high);
}

/** Equally active users without a single event that bound a rate below the margin at α: ln α / ln(1 − margin). */
export function usersIfNoEvent(margin: number, alpha: number): number {
  return Math.ceil(Math.log(alpha) / Math.log(1 - margin));
}

export interface RateDesign {
  /** Events per request, 0 < rate < 1. */
  rate: number;
  samplesPerUser: number;
  /** Kish's evenness of the users' activity: until events are many enough to show how they cluster, a user counts as that many requests. */
  evenness: number;
  sigma: number;
  q: number;
  alpha: number;
  tolerance: number;
}

/**
 * Power of the non-inferiority test of a rate with its exact limit, which asks more than the normal one when events are few: how unlucky, in
 * standard errors, the canary may be with the limit still below the tolerance.
 */
export function ratePowerIfEqual(design: RateDesign, users: number): number {
  const { rate, sigma, q, alpha, tolerance } = design;
  const se = standardError(sigma, users, q);
  // σ² is a user's share of the variance, so p(1−p)/σ² requests' worth of information come with each user.
  const clusteringKnown = users * design.samplesPerUser * rate >= 2 * ENOUGH_EVENT_USERS;
  const perUser = clusteringKnown ? (rate * (1 - rate)) / sigma ** 2 : design.evenness;
  const stable = { rate, effective: users * (1 - q) * perUser };
  const passes = (z: number) => {
    const canary = { rate: Math.min(1, Math.max(0, rate + z * se)), effective: users * q * perUser };
    return (
      differenceLimits(stable, canary, alpha).upper < tolerance &&
      z * se < tolerance - normalCritical(alpha) * se
    );
  };
  let [low, high] = [-8, 8];
  if (!passes(low)) return 0;
  for (let step = 0; step < 40; step += 1) {
    const middle = (low + high) / 2;
    if (passes(middle)) low = middle;
    else high = middle;
  }
  return normalUpperTail(-low);
}

/** The fewest users for which `powerOf`, which grows with them, reaches the power; to a part in 10⁶. */
export function usersForPower(powerOf: (users: number) => number, power: number): number {
  let high = 4;
  while (powerOf(high) < power && high < 1e12) high *= 2;
  let low = high / 2;
  for (let step = 0; step < 20; step += 1) {
    const middle = (low + high) / 2;
    if (powerOf(middle) < power) low = middle;
    else high = middle;
  }
  return Math.ceil(high);
}
