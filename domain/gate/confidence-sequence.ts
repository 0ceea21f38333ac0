/**
 * Confidence sequences: intervals that hold at every look at once, however often and whenever one looks.
 * Asymptotic, normal mixture: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas (arXiv 2103.06476); Lindon, Ham, Tingley, Bojinov (2205.14762);
 * the same boundary as confseq's two-sided normal mixture (Howard et al.). Pure; α in (0, 1), standard errors > 0, else NaN results.
 */

/**
 * Half width of the one-sided sequence at error α: P(the true effect is ever below estimate − hw) ≤ α.
 * `tau2` is the prior variance of the effect, fixed before the start (`tau2For`), in the unit of se².
 */
export function oneSidedHalfWidth(se: number, tau2: number, alpha: number): number {
  const x = tau2 / (se * se);
  return se * Math.sqrt(((2 * (x + 1)) / x) * Math.log(1 + Math.sqrt(x + 1) / (2 * alpha)));
}

/** Half width of the two-sided sequence at error α. */
export function twoSidedHalfWidth(se: number, tau2: number, alpha: number): number {
  const x = tau2 / (se * se);
  return se * Math.sqrt(((2 * (x + 1)) / x) * Math.log(Math.sqrt(x + 1) / alpha));
}

/**
 * τ² that makes the sequence tightest where the standard error is `sePlan`: ρ²N* = −2 ln α + ln(1 − 2 ln α), with 2α for a one-sided one.
 * (The minimiser to first order, as gate.md and confseq's `best_rho` have it.)
 */
export function tau2For(sePlan: number, alpha: number, sides: 1 | 2): number {
  const lnAlpha = Math.log(sides === 1 ? 2 * alpha : alpha);
  return (-2 * lnAlpha + Math.log(1 - 2 * lnAlpha)) * sePlan * sePlan;
}
