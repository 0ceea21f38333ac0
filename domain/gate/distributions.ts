/**
 * The distributions behind the gate, from @stdlib. Small tails are always taken on the left, by symmetry: 1 − cdf would lose their digits.
 */
import gammaln from '@stdlib/math-base-special-gammaln';
import betaQuantile from '@stdlib/stats-base-dists-beta-quantile';
import chiSquareCdf from '@stdlib/stats-base-dists-chisquare-cdf';
import normalCdf from '@stdlib/stats-base-dists-normal-cdf';
import normalQuantile from '@stdlib/stats-base-dists-normal-quantile';
import tCdf from '@stdlib/stats-base-dists-t-cdf';
import tQuantile from '@stdlib/stats-base-dists-t-quantile';

export { betaQuantile, gammaln };

/** P(Z > z) of the standard normal. */
export function normalUpperTail(z: number): number {
  return normalCdf(-z, 0, 1);
}

/** z with P(Z > z) = tail, 0 < tail < 1. */
export function normalCritical(tail: number): number {
  return -normalQuantile(tail, 0, 1);
}

/** P(T > t) of Student's t. */
export function tUpperTail(t: number, degreesOfFreedom: number): number {
  return tCdf(-t, degreesOfFreedom);
}

/** t with P(T > t) = tail. */
export function tCritical(tail: number, degreesOfFreedom: number): number {
  return -tQuantile(tail, degreesOfFreedom);
}

/** P(X > x) of χ². With one degree of freedom through the normal's left tail, which keeps its digits; else 1 − cdf. */
export function chiSquareUpperTail(x: number, degreesOfFreedom: number): number {
  return degreesOfFreedom === 1 ? 2 * normalUpperTail(Math.sqrt(x)) : 1 - chiSquareCdf(x, degreesOfFreedom);
}
