import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oneSidedHalfWidth, tau2For, twoSidedHalfWidth } from '../../../domain/gate/confidence-sequence.ts';
import { estimateOf } from '../../../domain/gate/estimate.ts';
import { cohensD, momentsOf, pooled, welch } from '../../../domain/gate/reference.ts';
import { chiSquareTest, sequentialMarginals } from '../../../domain/gate/sample-ratio.ts';
import { DAY, figures, quality, START } from './fixtures.ts';

/** Numbers that others computed, each to the digits that they printed. */
function close(actual: number, expected: number, digits: number): void {
  assert.ok(
    Math.abs(actual - expected) <= 0.5000001 * 10 ** -digits,
    `${actual} is not ${expected} to ${digits} decimals`,
  );
}

const moments = (mean: number, variance: number, n: number) => ({ n, mean, variance });
function fromSums(sum: number, squares: number, n: number) {
  return moments(sum / n, (squares - (sum * sum) / n) / (n - 1), n);
}
function fromValues(values: number[]) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return moments(mean, values.reduce((a, b) => a + (b - mean) ** 2, 0) / (values.length - 1), values.length);
}

test('confseq uniform_boundaries_unittest.cpp: normal mixture at v = v_opt = 100, α = .05', () => {
  // Their ρ is the variance process over our τ²/SE²; their boundary is on the sum of v observations, ours on the mean.
  const ratio = tau2For(1, 0.05, 2);
  close(100 / ratio, 12.60056, 5);
  const se = 1 / Math.sqrt(100);
  close(100 * twoSidedHalfWidth(se, tau2For(se, 0.05, 2), 0.05), 30.35209, 5);
});

test('specification: widths of the sequences in standard errors at ¼, 1 and 4 times the planned information', () => {
  const widths = (alpha: number, sides: 1 | 2) =>
    [0.25, 1, 4].map((information) => {
      const se = 1 / Math.sqrt(information);
      const width = sides === 1 ? oneSidedHalfWidth : twoSidedHalfWidth;
      return Number((width(se, tau2For(1, alpha, sides), alpha) / se).toFixed(3));
    });
  assert.deepEqual(widths(0.05, 2), [3.264, 3.035, 3.127]);
  assert.deepEqual(widths(0.05, 1), [3.043, 2.779, 2.868]);
  assert.deepEqual(widths(0.01, 1), [3.569, 3.355, 3.44]);
});

test('GrowthBook test_tests.py: absolute effect of a two-sided t-test', () => {
  const result = welch(fromSums(1396.87, 52377.9767, 3407), fromSums(2422.7, 134698.29, 3461));
  close(result.interval95[0], 0.04538, 5);
  close(result.interval95[1], 0.53462, 5);
  close(result.p, 0.02016, 5);
});

test("Student's sleep data, Welch, as printed by R and scipy", () => {
  const one = fromValues([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0, 2]);
  const two = fromValues([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]);
  const result = welch(two, one);
  close(result.t, -1.8608135, 7);
  close(result.degreesOfFreedom, 17.776474, 6);
  close(result.p, 0.0793941, 7);
  close(result.interval95[0], -3.365483, 6);
  close(result.interval95[1], 0.205483, 6);
});

test('scipy ttest_ind_from_stats(15, √87.5, 13, 12, √39, 11)', () => {
  const a = moments(15, 87.5, 13);
  const b = moments(12, 39, 11);
  close(welch(b, a).t, 0.935846, 6);
  close(welch(b, a).p, 0.36, 4);
  close(pooled(b, a).t, 0.905136, 6);
  close(pooled(b, a).p, 0.3752, 4);
});

test('χ² of [9100, 900] against 90/10', () => {
  const { chiSquare, pValue } = chiSquareTest([9100, 900], [0.9, 0.1]);
  close(chiSquare, 11.1111, 4);
  close(pValue ?? 1, 0.00085812, 8);
});

test('ssrm test_ssrm_test.py: marginal likelihoods of five assignments', () => {
  // θ0 (.4, .4, .2), prior (1, 1, 1), posterior (3, 3, 2): the rows hold 2, 2 and 1 of the three arms.
  const { lnM1, lnM0 } = sequentialMarginals([2, 2, 1], [0.4, 0.4, 0.2], [1, 1, 1]);
  close(lnM1, -6.4457198, 7);
  close(lnM0, -5.2746008, 7);
});

test("GrowthBook's delta method for a ratio: difference and standard error", () => {
  const stable = { sums: [3.1, 0.9, 7.2, 2.4, 5, 1.1, 4.4, 0.8], counts: [4, 1, 9, 3, 6, 2, 5, 1] };
  const canary = { sums: [1.2, 2, 0.5, 3.3], counts: [2, 3, 1, 5] };
  const samples = Object.entries({ stable, canary }).flatMap(([arm, { sums, counts }]) =>
    sums.flatMap((sum, user) => {
      const n = counts[user] ?? 0;
      return Array.from({ length: n }, (_, index) => ({
        at: START + DAY / 2,
        user: `${arm} ${user}`,
        arm: arm as 'stable' | 'canary',
        // The whole sum in the first request: only the user's sum may matter.
        values: { 'quality:judge': index === 0 ? sum : 0 },
      }));
    }),
  );
  const estimate = estimateOf(quality, figures(samples, [quality]));
  assert.ok(typeof estimate !== 'string');
  close(estimate.difference, -0.16686217, 9);
  close(Math.sqrt(estimate.variance.stable + estimate.variance.canary), 0.032475633, 9);
});

test("Kayenta StatisticSuite.scala: Cohen's d", () => {
  // Theirs is cut, not rounded, and compared within 1e-5.
  const d = cohensD(fromValues([1, 1, 1, 2, 2, 2]), fromValues([5, 5, 5, 10, 10, 10]));
  assert.ok(Math.abs(d - 3.03821) <= 1e-5);
});

test('moments from exact integer sums are those of the values', () => {
  const values = [5, 5, 5, 10, 10, 10].map((value) => value * 1e6);
  const sum = values.reduce((a, b) => a + BigInt(b), 0n);
  const squares = values.reduce((a, b) => a + BigInt(b) ** 2n, 0n);
  assert.deepEqual(momentsOf(6, sum, squares), fromValues([5, 5, 5, 10, 10, 10]));
});
