import assert from 'node:assert/strict';
import normalCdf from '@stdlib/stats-base-dists-normal-cdf';
import normalQuantile from '@stdlib/stats-base-dists-normal-quantile';
import type { GateSample } from '../../../domain/gate/collect.ts';
import type { Arm } from '../../../domain/words.ts';
import { DAY, START } from './fixtures.ts';

/**
 * The gate's specification a second time, as plain arithmetic on lists of users: what the tests of decisions expect comes from here, from
 * printed tables and from @stdlib, never from the code under test.
 */

/** A user who makes the same requests every day. So the week's sums are those of a day, times the days, and the daily formulas hold. */
export interface Person {
  arm: Arm;
  /** The values of each request of a day. */
  day: Record<string, number>[];
}

export function* everyDay(people: readonly Person[], days = 7): Generator<GateSample> {
  for (const [index, { arm, day }] of people.entries()) {
    for (let number = 0; number < days; number += 1) {
      for (const [request, values] of day.entries()) {
        yield {
          at: START + number * DAY + DAY / 4 + index * 1000 + request * 60_000,
          user: `u${index}`,
          arm,
          values,
        };
      }
    }
  }
}

/** `count` values around `mean`, up to `width` away, in an order that has nothing to do with anything else. */
export function around(count: number, mean: number, width: number): number[] {
  return Array.from({ length: count }, (_, index) => {
    const step = ((index * 37 + 11) % 101) / 50 - 1;
    return Math.round((mean + width * step) * 1e4) / 1e4;
  });
}

/** Users with one request a day, each with one value of a metric. */
export function crowd(metric: string, values: Record<Arm, readonly number[]>): Person[] {
  return (['stable', 'canary'] as const).flatMap((arm) =>
    values[arm].map((value): Person => ({ arm, day: [{ [metric]: value }] })),
  );
}

export const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
export const mean = (values: readonly number[]) => total(values) / values.length;

/** N and S of each user of an arm. */
function usersOf(people: readonly Person[], metric: string, arm?: Arm): { n: number; s: number }[] {
  return people
    .filter((person) => arm === undefined || person.arm === arm)
    .map(({ day }) => ({ n: day.length, s: total(day.map((values) => values[metric] ?? 0)) }));
}

/** μ = ΣS/ΣN, and Σ(S − μN)² / ((K − 1)·N̄²): the variance of a user's influence. */
function influence(users: readonly { n: number; s: number }[]) {
  const [n, k] = [total(users.map((user) => user.n)), users.length];
  const mu = total(users.map((user) => user.s)) / n;
  return {
    k,
    mu,
    variance: total(users.map(({ n, s }) => (s - mu * n) ** 2)) / (k - 1) / (n / k) ** 2,
  };
}

/** gate.md, "The unit is the user", with Welch–Satterthwaite's ν on users. */
export function compared(people: readonly Person[], metric: string) {
  const [stable, canary] = [
    influence(usersOf(people, metric, 'stable')),
    influence(usersOf(people, metric, 'canary')),
  ];
  const all = influence(usersOf(people, metric));
  const v = { stable: stable.variance / stable.k, canary: canary.variance / canary.k };
  const own = Math.sqrt(v.stable + v.canary);
  const guard = Math.sqrt(all.variance * (1 / stable.k + 1 / canary.k));
  return {
    stable: stable.mu,
    canary: canary.mu,
    d: canary.mu - stable.mu,
    own,
    guard,
    se: Math.max(own, guard),
    nu: (v.stable + v.canary) ** 2 / (v.stable ** 2 / (stable.k - 1) + v.canary ** 2 / (canary.k - 1)),
    /** Variance of the mean of `users` users drawn from both arms together. */
    alike: (users: number) => all.variance / users,
  };
}

/** z with P(Z > z) = tail. */
export const z = (tail: number) => normalQuantile(1 - tail, 0, 1);
export const phi = (x: number) => normalCdf(x, 0, 1);

/** τ² of the one-sided sequence: −2 ln 2α + ln(1 − 2 ln 2α), times the variance that is planned. */
export function tau2(sePlan: number, alpha: number): number {
  const l = 2 * Math.log(1 / (2 * alpha));
  return sePlan ** 2 * (l + Math.log(1 + l));
}

/** hw₁ of gate.md (a). */
export function width(se: number, tau: number, alpha: number): number {
  const x = tau / se ** 2;
  return se * Math.sqrt(2 * (1 + 1 / x) * Math.log(1 + Math.sqrt(1 + x) / 2 / alpha));
}

/** Standard error of the difference with `users` of both arms, q of them on the canary; 3 % more for the small-arm guard. */
export function planned(sigma: number, users: number, q: number): number {
  return (1.03 * sigma) / Math.sqrt(users * q * (1 - q));
}

/** The argument at which a rising function reaches `target`. */
export function solve(f: (x: number) => number, target: number, low: number, high: number): number {
  let [a, b] = [low, high];
  for (let step = 0; step < 52; step += 1) {
    const middle = (a + b) / 2;
    if (f(middle) < target) a = middle;
    else b = middle;
  }
  return (a + b) / 2;
}

/** P(at most `events` of `n`) for a share p, both possibly fractional: the beta integral, by Simpson's rule. */
function atMost(events: number, n: number, p: number): number {
  // Beyond this no mass is left that twelve digits would show.
  const end = Math.min(1, (events + 60 + 12 * Math.sqrt(events + 1)) / n);
  const mode = events / (n - 1);
  const density = (x: number) =>
    x <= 0 || x >= 1
      ? Number(events === 0 && x === 0)
      : Math.exp(
          events * Math.log(x / (mode || 1)) + (n - events - 1) * (Math.log1p(-x) - Math.log1p(-mode)),
        );
  const integral = (from: number, to: number) => {
    const steps = 1000;
    const h = (to - from) / steps;
    let sum = density(from) + density(to);
    for (let step = 1; step < steps; step += 1) sum += density(from + step * h) * (step % 2 === 1 ? 4 : 2);
    return (sum * h) / 3;
  };
  if (p >= end) return 0;
  const [below, above] = [integral(0, p), integral(p, end)];
  return above / (below + above);
}

/** Clopper and Pearson's one-sided limits: the share with which so few events, or so many, come with probability α only. */
export function upperShare(events: number, n: number, alpha: number): number {
  return solve((p) => -atMost(events, n, p), -alpha, events / n, 1);
}
export function lowerShare(events: number, n: number, alpha: number): number {
  return events === 0 ? 0 : solve((p) => 1 - atMost(events - 1, n, p), alpha, 0, events / n);
}

interface Share {
  events: number;
  n: number;
}

/** Zou and Donner's limits of canary − stable from those of each arm (MOVER). */
export function differenceShares(stable: Share, canary: Share, alpha: number) {
  const [ps, pc] = [stable.events / stable.n, canary.events / canary.n];
  const limit = (share: Share) => [
    lowerShare(share.events, share.n, alpha),
    upperShare(share.events, share.n, alpha),
  ];
  const [[ls = 0, us = 0], [lc = 0, uc = 0]] = [limit(stable), limit(canary)];
  return {
    lower: pc - ps - Math.sqrt((pc - lc) ** 2 + (us - ps) ** 2),
    upper: pc - ps + Math.sqrt((uc - pc) ** 2 + (ps - ls) ** 2),
  };
}

/** Equal to a part in a million, or as said. */
export function near(actual: number | null | undefined, expected: number, relative = 1e-6): void {
  assert.ok(
    typeof actual === 'number' && Math.abs(actual - expected) <= relative * Math.abs(expected) + 1e-12,
    `${actual} is not ${expected}`,
  );
}
