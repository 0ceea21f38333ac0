import assert from 'node:assert/strict';
import { test } from 'node:test';
import { summarise } from '../../../domain/evaluation/summary.ts';

const policy = { minAccuracy: 0.85, maxP95: 5_000 };
const outcomes = (passed: number, failed: number, latencyMs = 100) => [
  ...Array.from({ length: passed }, () => ({ passed: true, latencyMs })),
  ...Array.from({ length: failed }, () => ({ passed: false, latencyMs })),
];

test('more than the accuracy is needed, not just the accuracy', () => {
  assert.equal(summarise(outcomes(17, 3), policy).passed, false);
  assert.equal(summarise(outcomes(18, 3), policy).passed, true);
});

test('p95 is the smallest latency that 95 % of the cases do not exceed', () => {
  const slow = (n: number) => [...outcomes(20 - n, 0), ...outcomes(n, 0, 5_000)];
  assert.equal(summarise(slow(1), policy).p95Ms, 100);
  assert.equal(summarise(slow(2), policy).p95Ms, 5_000);
  assert.equal(summarise(slow(2), policy).passed, false);
  assert.equal(summarise(outcomes(1, 0, 4_999.9), policy).passed, true);
});

test('what was missed is said, with its figures', () => {
  assert.equal(
    summarise(outcomes(1, 1, 6_000), policy).reason,
    '1 of 2 cases passed (50.0 %), p95 6000 ms: accuracy must be more than 85.0 %, p95 must be below 5000 ms',
  );
  assert.equal(summarise(outcomes(3, 0), policy).reason, '3 of 3 cases passed (100.0 %), p95 100 ms');
});

test('invariant 4: nothing measured never passes', () => {
  assert.equal(summarise([], { minAccuracy: -1, maxP95: Number.POSITIVE_INFINITY }).passed, false);
});
