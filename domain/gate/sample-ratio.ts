/**
 * Is the experiment sound: do the arms have the shares of users that they were given? Judged on users, never on requests.
 */
import { chiSquareUpperTail, gammaln } from './distributions.ts';
import { phaseOf } from './strata.ts';
import type { TrafficTotals } from './types.ts';

/** Below this p at a horizon, and beyond the reciprocal of it as a Bayes factor at any look, the ratio is broken. */
export const SAMPLE_RATIO_ALPHA = 0.001;

/** χ² is not computed with fewer expected users in an arm (Cochran's rule asks for 5; gate.md for 8). */
const MIN_EXPECTED = 8;

/** Concentration of the Dirichlet prior of the sequential test: bets on ratios close to the planned one. */
const CONCENTRATION = 100;

export interface ChiSquare {
  chiSquare: number;
  /** null if an arm expects fewer than 8 users. */
  pValue: number | null;
}

/** Pearson's χ² of observed counts against expected shares (which sum to 1). */
export function chiSquareTest(counts: readonly number[], shares: readonly number[]): ChiSquare {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let chiSquare = 0;
  let measurable = true;
  for (const [index, count] of counts.entries()) {
    const expected = total * (shares[index] ?? 0);
    if (!(expected >= MIN_EXPECTED)) measurable = false;
    if (expected > 0) chiSquare += (count - expected) ** 2 / expected;
  }
  return { chiSquare, pValue: measurable ? chiSquareUpperTail(chiSquare, counts.length - 1) : null };
}

/** Natural logs of the two marginal likelihoods of a sequence of assignments: Dirichlet-multinomial, and the planned shares θ. */
export function sequentialMarginals(
  counts: readonly number[],
  shares: readonly number[],
  prior: readonly number[],
): { lnM1: number; lnM0: number } {
  const c = prior.reduce((sum, value) => sum + value, 0);
  const n = counts.reduce((sum, value) => sum + value, 0);
  let lnM1 = gammaln(c) - gammaln(c + n);
  let lnM0 = 0;
  for (const [index, x] of counts.entries()) {
    const a = prior[index] ?? 0;
    lnM1 += gammaln(a + x) - gammaln(a);
    if (x > 0) lnM0 += x * Math.log(shares[index] ?? 0);
  }
  return { lnM1, lnM0 };
}

/**
 * ln of the Bayes factor against the planned shares; valid at every look: P(ever ≥ ln(1/α)) ≤ α if they hold.
 * Sequential multinomial test of Lindon and Malek (arXiv 2011.03567), prior cθ with c = 100.
 */
export function sequentialLnBayesFactor(counts: readonly number[], shares: readonly number[]): number {
  const prior = shares.map((share) => CONCENTRATION * share);
  const { lnM1, lnM0 } = sequentialMarginals(counts, shares, prior);
  return lnM1 - lnM0;
}

export interface SampleRatio {
  stable: number;
  canary: number;
  /** Users expected on the canary, given the weights of the phases in which they came. */
  expectedCanary: number;
  chiSquare: number;
  /** 1 if there are too few users for the test. */
  pValue: number;
  lnBayesFactor: number;
}

/** Both tests on the users of the experiment, each counted once, in the phase and arm in which they came first. */
export function sampleRatio(
  traffic: readonly TrafficTotals[],
  phases: readonly { weight: number }[],
): SampleRatio {
  const counts = phases.map(() => ({ stable: 0, canary: 0 }));
  for (const row of traffic) {
    const count = counts[phaseOf(row.stratum)];
    if (count) count[row.arm] += row.newUsers;
  }
  const result: SampleRatio = {
    stable: 0,
    canary: 0,
    expectedCanary: 0,
    chiSquare: 0,
    pValue: 1,
    lnBayesFactor: 0,
  };
  let variance = 0;
  for (const [index, { weight }] of phases.entries()) {
    const { stable, canary } = counts[index] ?? { stable: 0, canary: 0 };
    const n = stable + canary;
    result.stable += stable;
    result.canary += canary;
    result.expectedCanary += n * weight;
    variance += n * weight * (1 - weight);
    if (n > 0) result.lnBayesFactor += sequentialLnBayesFactor([stable, canary], [1 - weight, weight]);
  }
  const users = result.stable + result.canary;
  if (Math.min(result.expectedCanary, users - result.expectedCanary) >= MIN_EXPECTED) {
    // With one phase this is Pearson's χ²: (x − nq)²/(nq) + (x − nq)²/(n(1−q)) = (x − nq)²/(nq(1−q)).
    result.chiSquare = (result.canary - result.expectedCanary) ** 2 / variance;
    result.pValue = chiSquareUpperTail(result.chiSquare, 1);
  }
  return result;
}
