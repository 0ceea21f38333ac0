import type { Arm } from '../words.ts';
import { tCritical, tUpperTail } from './distributions.ts';
import { FIXED_POINT } from './metrics.ts';
import type { GateMetric, GateTotals, ReferenceFigures } from './types.ts';
import { figure } from './wording.ts';

/**
 * The textbook figures, which take requests for independent: Welch's t-test, Cohen's d, lift. They stand in the evidence for reference and
 * never decide: on clustered requests they are wrong far more often than they say (docs/deciding.md has the measured figures).
 */
export interface Moments {
  n: number;
  mean: number;
  /** Sample variance, divisor n − 1. */
  variance: number;
}

export interface WelchTest {
  t: number;
  degreesOfFreedom: number;
  /** Two-sided. */
  p: number;
  difference: number;
  interval95: [number, number];
}

/** Welch's t-test of b − a; variances unequal (Welch 1947, Satterthwaite's ν). At least one variance must be > 0, both n ≥ 2. */
export function welch(a: Moments, b: Moments): WelchTest {
  const va = a.variance / a.n;
  const vb = b.variance / b.n;
  return tTest(
    b.mean - a.mean,
    Math.sqrt(va + vb),
    (va + vb) ** 2 / (va ** 2 / (a.n - 1) + vb ** 2 / (b.n - 1)),
  );
}

/** Student's pooled t-test of b − a: only to reproduce published figures; wrong for arms of unequal size and spread. */
export function pooled(a: Moments, b: Moments): WelchTest {
  const degreesOfFreedom = a.n + b.n - 2;
  const variance = ((a.n - 1) * a.variance + (b.n - 1) * b.variance) / degreesOfFreedom;
  return tTest(b.mean - a.mean, Math.sqrt(variance * (1 / a.n + 1 / b.n)), degreesOfFreedom);
}

function tTest(difference: number, se: number, degreesOfFreedom: number): WelchTest {
  const t = difference / se;
  const reach = tCritical(0.025, degreesOfFreedom) * se;
  return {
    t,
    degreesOfFreedom,
    p: 2 * tUpperTail(Math.abs(t), degreesOfFreedom),
    difference,
    interval95: [difference - reach, difference + reach],
  };
}

/** Cohen's d of b − a with the pooled standard deviation. */
export function cohensD(a: Moments, b: Moments): number {
  const variance = ((a.n - 1) * a.variance + (b.n - 1) * b.variance) / (a.n + b.n - 2);
  return (b.mean - a.mean) / Math.sqrt(variance);
}

/** n, mean less `centre` (ledger units) and sample variance, from exact integer sums: an offset of the values cancels exactly. */
export function momentsOf(n: number, sum: bigint, squares: bigint, centre = 0n): Moments {
  const spread = BigInt(n) * squares - sum * sum;
  return {
    n,
    mean: Number(sum - centre * BigInt(n)) / n / FIXED_POINT,
    variance: Number(spread) / n / (n - 1) / FIXED_POINT ** 2,
  };
}

/** The textbook figures of a guard, all requests thrown together; null for percentiles, without squares, or without any spread. */
export function referenceFigures(metric: GateMetric, totals: GateTotals): ReferenceFigures | null {
  if (metric.scale === 'p95') return null;
  const sumsOf = (name: Arm) => {
    const rows = totals.metrics.filter((row) => row.metric === metric.metric && row.arm === name);
    return {
      n: rows.reduce((sum, row) => sum + row.n, 0),
      sum: rows.reduce((sum, row) => sum + row.sum, 0n),
      squares: rows.reduce((sum, row) => sum + row.squares, 0n),
    };
  };
  const sums = { stable: sumsOf('stable'), canary: sumsOf('canary') };
  if (sums.stable.n < 2 || sums.canary.n < 2) return null;
  const centre = sums.stable.sum / BigInt(sums.stable.n);
  const [stable, canary] = [sums.stable, sums.canary].map(({ n, sum, squares }) =>
    momentsOf(n, sum, squares, centre),
  );
  if (!stable || !canary || !(stable.variance >= 0) || !(canary.variance >= 0)) return null;
  if (stable.variance + canary.variance === 0) return null;
  const test = welch(stable, canary);
  const lift =
    metric.scale === 'log-mean'
      ? Math.expm1(test.difference)
      : sums.stable.sum === 0n
        ? null
        : test.difference / Math.abs(Number(sums.stable.sum) / sums.stable.n / FIXED_POINT);
  return {
    reference: true,
    welchT: figure(test.t),
    degreesOfFreedom: figure(test.degreesOfFreedom),
    p: figure(test.p),
    cohensD: figure(cohensD(stable, canary)),
    lift: lift === null ? null : figure(lift),
    interval95: [figure(test.interval95[0]), figure(test.interval95[1])],
  };
}
