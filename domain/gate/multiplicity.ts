/**
 * Many tests, one error rate.
 *  - Harm: α is split over the sequences (Bonferroni with weights that are fixed before the start), so that any of them stops a harmless
 *    canary with at most α: at least half an even share for each, the rest to those that need the most users (`splitByNeed`).
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

/**
 * α for each of some tests, which add up to it: at least half of an even share for each; the rest so that as few users as possible suffice for
 * all of them. `needed(test, users)`: the least error rate with which the test has its power with so many users; it falls with users.
 */
export function splitByNeed(
  alpha: number,
  tests: number,
  needed: (test: number, users: number) => number,
): number[] {
  const least = alpha / tests / 2;
  const sharesAt = (users: number) =>
    Array.from({ length: tests }, (_, test) => Math.min(alpha, Math.max(least, needed(test, users))));
  const spent = (users: number) => sharesAt(users).reduce((sum, share) => sum + share, 0);
  let [low, high] = [1, 2];
  while (spent(high) > alpha && high < 1e12) [low, high] = [high, 2 * high];
  for (let step = 0; step < 30; step += 1) {
    const middle = (low + high) / 2;
    if (spent(middle) > alpha) low = middle;
    else high = middle;
  }
  // What is left over goes to all, so that nothing is wasted and no more than α is spent.
  const left = alpha / spent(high);
  return sharesAt(high).map((share) => share * Math.min(left, 2));
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
