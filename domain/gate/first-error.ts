import { phaseOf } from './strata.ts';
import type { TrafficTotals } from './types.ts';

/** Rate ratios that the test bets on, equally. Fixed: a grid chosen after the data would not be valid. */
const RATE_RATIOS = [1.5, 2, 3, 5, 10, 20, 50];

export interface FirstErrors {
  stable: number;
  canary: number;
  /** e-value: expected ≤ 1 if both arms err alike, at any time; large = the canary errs more. */
  evidence: number;
}

/**
 * First-error test, exact at every look. If the arms err alike, each user's first error falls on the canary with the probability q that a
 * user is there. Bets on a rate ratio RR multiply (θ/q) per error on the canary and (1−θ)/(1−q) per error on stable, θ = qRR/(1−q+qRR);
 * the mean over the grid is an e-value (mixture SPRT; Ville's inequality bounds P(E ever ≥ 1/α) by α). Errors of users count once, so their
 * requests may depend on each other. `phases` gives q for each phase of the weight.
 */
export function firstErrorEvidence(
  traffic: readonly TrafficTotals[],
  phases: readonly { weight: number }[],
): FirstErrors {
  const counts = phases.map(() => ({ stable: 0, canary: 0 }));
  const all = { stable: 0, canary: 0 };
  for (const row of traffic) {
    const phase = counts[phaseOf(row.stratum)];
    if (phase) phase[row.arm] += row.firstErrors;
    all[row.arm] += row.firstErrors;
  }
  let evidence = 0;
  for (const ratio of RATE_RATIOS) {
    let ln = 0;
    for (const [index, { weight: q }] of phases.entries()) {
      const count = counts[index];
      if (!count || count.stable + count.canary === 0) continue;
      const theta = (q * ratio) / (1 - q + q * ratio);
      ln += count.canary * Math.log(theta / q) + count.stable * Math.log((1 - theta) / (1 - q));
    }
    evidence += Math.exp(Math.min(ln, 700)) / RATE_RATIOS.length;
  }
  return { ...all, evidence };
}
