/**
 * Many tests, one error rate.
 *  - Harm: α is split evenly over the sequences (Bonferroni), so that any of them stops a harmless canary with at most α.
 *  - Non-inferiority of *every* guard is an intersection–union test (Berger 1982): each at the full α, no split.
 *  - Horizons: α is spent in parts that add up to it, fixed before the start (Bonferroni over horizons, so no assumption on how the
 *    estimates of two horizons depend on each other).
 *  - Success metrics: any of them suffices, so Holm's step-down.
 */

/** Half of α at the horizon at which the plan expects to decide, the other half evenly over the others. */
export function spendOverHorizons(alpha: number, horizons: number, expected: number): number[] {
  if (horizons === 1) return [alpha];
  return Array.from({ length: horizons }, (_, index) =>
    index === expected ? alpha / 2 : alpha / 2 / (horizons - 1),
  );
}

/** Holm's adjusted p-values, in the order given: reject those ≤ α (Holm 1979). */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((p, index) => ({ p, index })).sort((a, b) => a.p - b.p || a.index - b.index);
  const adjusted = new Array<number>(pValues.length).fill(1);
  let running = 0;
  for (const [rank, { p, index }] of order.entries()) {
    running = Math.max(running, Math.min(1, p * (pValues.length - rank)));
    adjusted[index] = running;
  }
  return adjusted;
}
