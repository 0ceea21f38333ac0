/**
 * How many users a comparison needs, and what it can see. σ is the spread of a user's influence, √(Var(S − μN)) / N̄, alike in both arms;
 * q is the share of users on the canary; K counts the users of both arms together.
 */
import { normalCritical, normalUpperTail } from './distributions.ts';

/** Standard error of the difference: σ / √(K q (1 − q)). */
export function standardError(sigma: number, users: number, q: number): number {
  return sigma / Math.sqrt(users * q * (1 - q));
}

/**
 * K = σ²(z_{1−α} + z_{1−β})² / (q (1 − q) (tolerance + effect)²): users for which a canary whose true effect is `effect` (> 0 is better) is
 * found non-inferior with probability `power`.
 */
export function usersNeeded(design: {
  sigma: number;
  alpha: number;
  power: number;
  q: number;
  tolerance: number;
  effect?: number;
}): number {
  const z = normalCritical(design.alpha) + normalCritical(1 - design.power);
  const distance = design.tolerance + (design.effect ?? 0);
  return (design.sigma ** 2 * z ** 2) / (design.q * (1 - design.q) * distance ** 2);
}

/** Power of the non-inferiority test if the arms are equal. */
export function powerIfEqual(design: { se: number; alpha: number; tolerance: number }): number {
  return normalUpperTail(normalCritical(design.alpha) - design.tolerance / design.se);
}

/** Equally active users without a single event that bound a rate below the margin at α: ln α / ln(1 − margin). */
export function usersIfNoEvent(margin: number, alpha: number): number {
  return Math.ceil(Math.log(alpha) / Math.log(1 - margin));
}
