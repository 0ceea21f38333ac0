import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { baselineOf, baselineRequests } from '../../../domain/gate/baseline.ts';
import type { GateSample } from '../../../domain/gate/collect.ts';
import { NumberColumn } from '../../../domain/gate/columns.ts';
import { tau2For } from '../../../domain/gate/confidence-sequence.ts';
import {
  chiSquareUpperTail,
  normalCritical,
  normalUpperTail,
  tUpperTail,
} from '../../../domain/gate/distributions.ts';
import { estimateOf } from '../../../domain/gate/estimate.ts';
import { figuresDigest } from '../../../domain/gate/evidence.ts';
import { ExactSum, ExactSumOfSquares } from '../../../domain/gate/exact.ts';
import { firstErrorEvidence } from '../../../domain/gate/first-error.ts';
import { bucketOf, lnLowerBound } from '../../../domain/gate/histogram.ts';
import { influenceSums, totalsOf } from '../../../domain/gate/in-memory.ts';
import { influenceRequests } from '../../../domain/gate/influence.ts';
import { ledgerValue } from '../../../domain/gate/metrics.ts';
import { splitByNeed } from '../../../domain/gate/multiplicity.ts';
import { planGate } from '../../../domain/gate/plan.ts';
import { differenceLimits, lowerLimit, upperLimit } from '../../../domain/gate/rare-rate.ts';
import { sampleRatio, sequentialLnBayesFactor } from '../../../domain/gate/sample-ratio.ts';
import { phaseOf, sliceOf, stratumId } from '../../../domain/gate/strata.ts';
import type { GateFigures, TrafficTotals } from '../../../domain/gate/types.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import {
  collect,
  DAY,
  error,
  figures,
  latency,
  latencyP95,
  normalFrom,
  planOf,
  policyOf,
  quality,
  randomFrom,
  START,
  week,
} from './fixtures.ts';

const near = (actual: number, expected: number, tolerance: number) =>
  assert.ok(Math.abs(actual - expected) <= tolerance, `${actual} is not ${expected} ± ${tolerance}`);

test('small tails keep their digits', () => {
  // R: pnorm(-10), pt(-40, 5), pchisq(60, 1, lower.tail = FALSE)
  near(normalUpperTail(10) / 7.619853e-24, 1, 1e-6);
  near(tUpperTail(40, 5) / 9.225e-8, 1, 1e-2);
  near(chiSquareUpperTail(60, 1) / (2 * normalUpperTail(Math.sqrt(60))), 1, 1e-12);
  near(normalCritical(0.025), 1.959963984540054, 1e-12);
});

test('Clopper–Pearson limits: R binom.test(3, 20) and the rule of three', () => {
  near(lowerLimit(3, 20, 0.025), 0.03207094, 1e-8);
  near(upperLimit(3, 20, 0.025), 0.37892683, 1e-8);
  near(upperLimit(0, 1000, 0.05), 3 / 1000, 1e-5);
  assert.equal(lowerLimit(0, 10, 0.05), 0);
  assert.equal(upperLimit(10, 10, 0.05), 1);
});

test('limits of a difference hold the difference, and without any event are those of each arm', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 0.2, noNaN: true }),
      fc.double({ min: 0, max: 0.2, noNaN: true }),
      (a, b) => {
        const { lower, upper } = differenceLimits(
          { rate: a, effective: 900 },
          { rate: b, effective: 100 },
          0.05,
        );
        assert.ok(lower <= b - a + 1e-12 && upper >= b - a - 1e-12);
        const mirrored = differenceLimits({ rate: b, effective: 100 }, { rate: a, effective: 900 }, 0.05);
        near(mirrored.lower, -upper, 1e-12);
        near(mirrored.upper, -lower, 1e-12);
      },
    ),
  );
  const none = differenceLimits({ rate: 0, effective: 9000 }, { rate: 0, effective: 1000 }, 0.05);
  near(none.upper, upperLimit(0, 1000, 0.05), 1e-12);
  near(none.lower, -upperLimit(0, 9000, 0.05), 1e-12);
});

const traffic = (
  canary: Partial<TrafficTotals>,
  stable: Partial<TrafficTotals>,
  stratum = 0,
): TrafficTotals[] => {
  const empty = { stratum, users: 0, newUsers: 0, requests: 0, firstErrors: 0 };
  return [
    { ...empty, arm: 'canary', ...canary },
    { ...empty, arm: 'stable', ...stable },
  ];
};

test('first errors: a martingale under equality, large when the canary errs more', () => {
  const q = 0.1;
  const phases = [{ weight: q }];
  const at = (canary: number, stable: number) =>
    firstErrorEvidence(traffic({ firstErrors: canary }, { firstErrors: stable }), phases).evidence;
  near(at(0, 0), 1, 1e-12);
  // The next first error falls on the canary with probability q: the expected evidence is what it was.
  for (const [canary, stable] of [
    [0, 0],
    [3, 20],
    [7, 11],
  ] as const) {
    near((q * at(canary + 1, stable) + (1 - q) * at(canary, stable + 1)) / at(canary, stable), 1, 1e-12);
  }
  assert.ok(at(6, 2) > 100);
  assert.ok(at(2, 18) < 1);
  assert.ok(Number.isFinite(at(100_000, 0)));
  // Phases of a ramp multiply: each with its own weight.
  const ramp = [...traffic({ firstErrors: 1 }, {}, 0), ...traffic({ firstErrors: 1 }, {}, 65)];
  assert.ok(
    firstErrorEvidence(ramp, [{ weight: 0.01 }, { weight: 0.5 }]).evidence <
      firstErrorEvidence(traffic({ firstErrors: 2 }, {}), [{ weight: 0.01 }]).evidence,
  );
});

test('sample ratio: the sequential factor is a martingale; the fixed test is χ² in every phase', () => {
  const ln = (canary: number, stable: number) => sequentialLnBayesFactor([stable, canary], [0.9, 0.1]);
  const mean = 0.1 * Math.exp(ln(4, 30)) + 0.9 * Math.exp(ln(3, 31));
  near(mean / Math.exp(ln(3, 30)), 1, 1e-9);
  const one = sampleRatio(traffic({ newUsers: 900 }, { newUsers: 9100 }), [{ weight: 0.1 }]);
  near(one.chiSquare, 11.1111, 1e-4);
  near(one.pValue, 0.00085812, 1e-8);
  // A tenth of the first 1000 and half of the next 1000: as due, though 30 % of all.
  const ramp = [
    ...traffic({ newUsers: 100 }, { newUsers: 900 }, stratumId({ at: 0, from: 0, length: DAY, phase: 0 })),
    ...traffic({ newUsers: 500 }, { newUsers: 500 }, stratumId({ at: DAY, from: 0, length: DAY, phase: 1 })),
  ];
  assert.equal(sampleRatio(ramp, [{ weight: 0.1 }, { weight: 0.5 }]).chiSquare, 0);
  // Too few users for χ² say nothing.
  assert.equal(sampleRatio(traffic({ newUsers: 7 }, { newUsers: 3 }), [{ weight: 0.1 }]).pValue, 1);
});

test('strata: slices from the start, phases beside them', () => {
  assert.equal(stratumId({ at: START + DAY - 1, from: START, length: DAY }), 0);
  const id = stratumId({ at: START + 3 * DAY, from: START, length: DAY, phase: 2 });
  assert.deepEqual([sliceOf(id), phaseOf(id)], [3, 2]);
  assert.ok(sliceOf(stratumId({ at: START - 1, from: START, length: DAY, phase: 5 })) < 0);
});

test('histograms: a value lies in its bucket; ledger values are integers or refused', () => {
  fc.assert(
    fc.property(fc.double({ min: 1e-9, max: 1e9, noNaN: true }), (value) => {
      const bucket = bucketOf(value);
      assert.ok(Math.log(value) >= lnLowerBound(bucket) - 1e-12);
      assert.ok(Math.log(value) <= lnLowerBound(bucket + 1) + 1e-12);
    }),
  );
  assert.equal(bucketOf(0), -600);
  assert.deepEqual(ledgerValue('quality:judge', 0.7), { value: 700_000 });
  assert.deepEqual(ledgerValue('latency', Math.E), { value: 1_000_000 });
  // A cached answer costs nothing: the floor stands for it.
  assert.deepEqual(ledgerValue('cost', 0), ledgerValue('cost', 1e-6));
  assert.deepEqual(ledgerValue('quality:judge', Number.NaN), { unusable: 'not-finite' });
  for (const value of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    assert.deepEqual(ledgerValue('quality:judge', value), { unusable: 'infinite' });
    assert.deepEqual(ledgerValue('latency', value), { unusable: 'infinite' });
  }
  assert.deepEqual(ledgerValue('latency', -1), { unusable: 'out-of-range' });
});

test('exact sums are those of BigInt', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -(2 ** 51), max: 2 ** 51 }), { maxLength: 50 }), (values) => {
      const [sum, squares] = [new ExactSum(), new ExactSumOfSquares()];
      for (const value of values) {
        sum.add(value);
        squares.add(value);
      }
      assert.equal(
        sum.total(),
        values.reduce((total, value) => total + BigInt(value), 0n),
      );
      assert.equal(
        squares.total(),
        values.reduce((total, value) => total + BigInt(value) ** 2n, 0n),
      );
    }),
  );
});

test('a column has what was pushed, also beyond its first room, and nothing after it', () => {
  const column = NumberColumn.integers();
  for (let n = 0; n < 3000; n += 1) column.push(2 * n);
  assert.deepEqual([column.at(0), column.at(1500), column.at(2999)], [0, 3000, 5998]);
  assert.equal(column.view().length, 3000);
  assert.throws(() => column.at(3000), RangeError);
});

test('p95: recovers the percentiles and a slow-down, with an error near that of the users', () => {
  const random = randomFrom(11);
  const samples = Array.from({ length: 40_000 }, (_, index) => {
    const user = index % 20_000;
    const arm = user % 2 === 0 ? ('stable' as const) : ('canary' as const);
    const value = Math.exp(0.5 * normalFrom(random)) * (arm === 'canary' ? 1.2 : 1);
    return { at: START + (index % 7) * DAY, user: `u${user}`, arm, values: { latency: value } };
  });
  const estimate = estimateOf(latencyP95, figures(samples, [latencyP95], { weight: 0.5 }));
  assert.ok(typeof estimate === 'object');
  near(Math.exp(estimate.means.stable), Math.exp(0.5 * 1.6449), 0.05);
  near(estimate.difference, Math.log(1.2), 0.03);
  // √(p(1−p)/n) / density, for 20 000 independent requests an arm: density of ln(value) at its p95 is φ(1.645)/0.5.
  const expected = Math.sqrt(2 * ((0.05 * 0.95) / 20_000)) / (0.10314 / 0.5);
  near(estimate.se / expected, 1, 0.1);
});

test('p95: pass 2 asks for the 5 % above the percentile, ties within a bucket shared out', () => {
  // Every value is one of three: the percentile lies inside a bucket that holds a fifth of all samples.
  const samples = Array.from({ length: 1000 }, (_, index) => ({
    at: START,
    user: `u${index}`,
    arm: index % 2 === 0 ? ('stable' as const) : ('canary' as const),
    values: { latency: index < 780 ? 1 : index < 980 ? 2 : 4 },
  }));
  const [request] = influenceRequests([latencyP95], figures(samples, [latencyP95], { weight: 0.5 }).totals);
  assert.ok(request?.above);
  assert.equal(request.above.canary.bucket, bucketOf(2));
  near(request.above.canary.part, (0.03 / 0.2) * 1e6, 1);
  for (const row of request.rows) near(row.mean, 50_000, 1);
});

test("a user in both arms of a stratum counts as the stable arm's, whichever came first, as in the ledger", () => {
  const rows = (['canary', 'stable'] as const).map((arm, index) => ({
    at: START + index,
    user: 'a',
    arm,
    values: { error: 1 },
  }));
  for (const samples of [rows, rows.toReversed()]) {
    const { traffic } = figures(samples, [error]).totals;
    for (const { arm, newUsers, firstErrors } of traffic) {
      assert.deepEqual([newUsers, firstErrors], arm === 'stable' ? [1, 1] : [0, 0]);
    }
    assert.equal(traffic.length, 2);
  }
});

test('who came before the start is no new user, and whose first error was then brings none', () => {
  const at = (offset: number, user: string, failed: number): GateSample => ({
    at: START + offset,
    user,
    arm: 'canary',
    values: { error: failed },
  });
  const early = [at(-1, 'a', 1), at(0, 'a', 1), at(0, 'b', 1), at(-1, 'c', 0), at(1, 'c', 1)];
  for (const samples of [early, early.toReversed()]) {
    const { traffic, unusable } = collect(samples, [error]).totals;
    assert.deepEqual(traffic, [
      { arm: 'canary', stratum: 0, users: 3, newUsers: 1, requests: 3, firstErrors: 2 },
    ]);
    assert.deepEqual(unusable, [{ metric: '*', arm: 'canary', reason: 'outside-window', n: 2 }]);
  }
});

test('values that cannot be used are counted by metric, arm and reason', () => {
  const bad = [
    ['stable', Number.NaN],
    ['stable', Number.NaN],
    ['canary', Number.NaN],
    ['canary', -1],
  ] as const;
  const samples = bad.map(([arm, seconds]) => ({ at: START, user: arm, arm, values: { latency: seconds } }));
  assert.deepEqual(collect(samples, [latency]).totals.unusable, [
    { metric: 'latency', arm: 'stable', reason: 'not-finite', n: 2 },
    { metric: 'latency', arm: 'canary', reason: 'not-finite', n: 1 },
    { metric: 'latency', arm: 'canary', reason: 'out-of-range', n: 1 },
  ]);
});

test('the digest of the figures covers each of their numbers and words, and no order of rows', () => {
  const of = () => {
    const made = figures(week({ users: 60, seed: 1, weight: 0.5, days: 2 }), [quality, latency, latencyP95]);
    made.totals.unusable.push({ metric: 'latency', arm: 'canary', reason: 'infinite', n: 1 });
    return made;
  };
  const digest = figuresDigest(of());
  const changed = new Set<string>();
  /** Changes each leaf below, one after the other, and puts it back. */
  const visit = (whole: GateFigures, node: Record<string, unknown>, path: string) => {
    for (const [key, value] of Object.entries(node)) {
      const name = Array.isArray(node) ? `${path}[]` : `${path}.${key}`;
      if (typeof value === 'object' && value !== null) visit(whole, value as Record<string, unknown>, name);
      else if (!changed.has(name)) {
        const other =
          typeof value === 'bigint' ? value + 1n : typeof value === 'number' ? value + 1 : `${value}!`;
        node[key] = other;
        assert.notEqual(figuresDigest(whole), digest, name);
        node[key] = value;
        changed.add(name);
      }
    }
  };
  const whole = of();
  visit(whole, whole as unknown as Record<string, unknown>, '');
  // totals: 3 + the weight; traffic 6, metrics 7, buckets 5, unusable 4; sums: the guard, and 6 of each arm.
  assert.equal(changed.size, 3 + 1 + 6 + 7 + 5 + 4 + 1 + 2 * 6);
  const { totals, sums } = of();
  const reversed = Object.fromEntries(
    Object.entries(totals).map(([key, value]) => [
      key,
      Array.isArray(value) && key !== 'phases' ? value.toReversed() : value,
    ]),
  ) as unknown as GateFigures['totals'];
  assert.equal(figuresDigest({ totals: reversed, sums: sums.toReversed() }), digest);
});

test('a percentile that its histogram cannot bound is not measured', () => {
  const samples = Array.from({ length: 40 }, (_, index) => ({
    at: START,
    user: `u${index % 20}`,
    arm: index % 2 === 0 ? ('stable' as const) : ('canary' as const),
    values: { latency: 1 + index },
  }));
  assert.equal(estimateOf(latencyP95, figures(samples, [latencyP95], { weight: 0.5 })), 'sparse-tail');
});

function baselineFor(users: number, changes: Parameters<typeof policyOf>[0] = {}) {
  const metrics = [quality, error, latency, latencyP95];
  const policy = policyOf({ metrics, ...changes });
  const data = collect(week({ users, seed: 4, weight: 0 }), metrics, { weight: 0 });
  const totals = totalsOf(data);
  const sums = baselineRequests(metrics, totals).map((request) => influenceSums(request, data));
  return { policy, baseline: baselineOf(policy, { totals, sums }) };
}

test('a plan from the users before: spreads, users and the expected horizon', () => {
  const { policy, baseline } = baselineFor(12_000);
  assert.ok(baseline);
  // Scores: own 0.1, per request 0.15; some five requests a user, unevenly.
  near(baseline.sigma['quality:judge'] ?? 0, Math.sqrt(0.1 ** 2 * 1.5 + 0.15 ** 2 / 5.4), 0.02);
  near(baseline.rates.error ?? 0, 0.01, 0.002);
  assert.ok(baseline.users.every((users, index) => users >= (baseline.users[index - 1] ?? 0)));
  const plan = planGate(policy, baseline);
  assert.equal(plan.refusal, null);
  assert.equal(plan.assumed, false);
  assert.equal(plan.expectedHorizon, 0);
  assert.ok((plan.horizons[0]?.power ?? 0) >= 0.9);
  near(
    plan.horizons.reduce((sum, { alpha }) => sum + alpha, 0),
    0.05,
    1e-9,
  );
  assert.equal(plan.horizons[0]?.alpha, 0.025);
});

test('the users that a plan asks for are those that reach its power', () => {
  const { policy, baseline } = baselineFor(12_000);
  assert.ok(baseline);
  const { usersNeeded: needed } = planGate(policy, baseline);
  const powerWith = (users: number) =>
    planGate(policy, { ...baseline, users: policy.horizons.map(() => users) }).horizons[0]?.power ?? 0;
  near(powerWith(needed), 0.9, 0.002);
  assert.ok(powerWith(needed * 0.97) < 0.9);
});

test('the textbook figures stand in the verdict, for reference', () => {
  const all = [...week({ users: 4000, seed: 2, harm: 0.1 })];
  const reference = judge(planOf([quality]), figures(all, [quality]), 0).guards[0]?.reference;
  assert.ok(reference?.reference);
  const mean = (arm: string) => {
    const scores = all
      .filter((sample) => sample.arm === arm)
      .map(({ values }) => values['quality:judge'] ?? 0);
    return scores.reduce((a, b) => a + b, 0) / scores.length;
  };
  near(reference.lift ?? 0, mean('canary') / mean('stable') - 1, 1e-6);
  assert.ok(reference.p < 1e-10 && reference.cohensD < -0.4);
});

test('a plan refuses, with the numbers, what cannot succeed, and says what it assumes', () => {
  const { policy, baseline } = baselineFor(1000);
  const { refusal } = planGate(policy, baseline);
  assert.ok(refusal);
  assert.equal(refusal.code, 'POLICY_CANNOT_SUCCEED');
  assert.ok(refusal.usersNeeded > refusal.usersExpected);
  assert.match(refusal.words, /needs [\d,]+/);
  const blind = planGate(policy, null);
  assert.equal(blind.refusal, null);
  assert.equal(blind.assumed, true);
  assert.match(blind.words.join(' '), /documented defaults/);
});

test('without earlier traffic a plan says what traffic it would take, also for minimums that few could reach', () => {
  const words = (changes: Parameters<typeof policyOf>[0]) => planGate(policyOf(changes), null).words[0] ?? '';
  const metrics = [{ ...quality, margin: 0.05 }];
  assert.match(
    words({ metrics }),
    /^No earlier traffic is known \(.*\), so nobody can say whether this policy can succeed\./,
  );
  assert.match(
    words({ metrics, minUsers: 10_000 }),
    /with 90 % after 7 d if 100,000 users of both arms come by then \(new ones: 14,300 a day\), or after 28 d, the last horizon, if 100,000 do \(3,570 a day\)/,
  );
  assert.match(words({ metrics, minUsers: 10_000, horizons: [3_600_000] }), /100,000 an? hour\)\.$/);
  const { policy, baseline } = baselineFor(12_000, { minUsers: 10_000 });
  const { refusal } = planGate(policy, baseline);
  assert.match(
    refusal?.words ?? '',
    /minimum of 10,000 users and 1,000 samples an arm alone needs 100,000 at a weight of 10 %/,
  );
});

test('the α of the guards adds up, and goes where most users are needed', () => {
  const { policy, baseline } = baselineFor(12_000);
  const plan = planGate(policy, baseline);
  const spent = plan.guards.reduce((sum, guard) => sum + guard.alphaHarm + guard.alphaFirstError, 0);
  near(spent, 0.05, 1e-10);
  const even = 0.05 / 5;
  const alphaOf = (id: string) => plan.guards.find(({ guard }) => guard === id)?.alphaHarm ?? 0;
  // Quality needs the most; beside a first-error test the share stays even.
  near(alphaOf('error'), even, 1e-10);
  assert.ok(alphaOf('quality:judge') > 1.5 * even);
  for (const guard of plan.guards) assert.ok(guard.alphaHarm >= 0.4999 * even);
  // What is not known to be needed is not given.
  for (const { alphaHarm } of planGate(policyOf({}), null).guards) near(alphaHarm, 0.05 / 11, 1e-10);
});

test('α is split so that the fewest users suffice for all', () => {
  // Tests that need e^(−users / scale): alike but for their scales.
  const needed = (scales: number[]) => (test: number, users: number) =>
    Math.exp(-users / (scales[test] ?? 1));
  assert.deepEqual(splitByNeed(0.05, 1, needed([100])), [0.05]);
  const [one = 0, other = 0] = splitByNeed(0.05, 2, needed([100, 100]));
  near(one, 0.025, 1e-9);
  near(other, 0.025, 1e-9);
  const [hard = 0, easy = 0] = splitByNeed(0.05, 2, needed([1000, 10]));
  near(hard, 0.0375, 1e-6);
  near(easy, 0.0125, 1e-6);
  const [first = 0, second = 0] = splitByNeed(0.05, 2, needed([100, 80]));
  near(first + second, 0.05, 1e-12);
  near(Math.log(first) * 100, Math.log(second) * 80, 1e-3);
});

test('a canary that may vary twice as much needs up to twice the users; a rate varies as its rate says', () => {
  const plan = planGate(policyOf({ metrics: [quality] }), null);
  near(plan.usersNeededIfNoisy / plan.usersNeeded, 1.9, 1e-3);
  const rate = planGate(policyOf({ metrics: [error] }), null);
  assert.equal(rate.usersNeededIfNoisy, rate.usersNeeded);
});

test('a looser margin or a heavier weight needs fewer users, a harm that is seen is larger than the margin', () => {
  const needs = (changes: Parameters<typeof policyOf>[0]) => planGate(policyOf(changes), null).usersNeeded;
  const metrics = [quality];
  assert.ok(needs({ metrics, weight: 0.5 }) < needs({ metrics, weight: 0.1 }));
  assert.ok(needs({ metrics: [{ ...quality, margin: 0.04 }] }) < needs({ metrics }));
  for (const guard of planGate(policyOf({}), null).guards) {
    assert.ok(guard.smallestHarmAsMargin > guard.metric.margin);
    near(guard.tau2 / tau2For(guard.sePlan, guard.alphaHarm, 1), 1, 1e-9);
  }
});

test('a policy with impossible numbers is refused', () => {
  const bad = [
    { weight: 0 },
    { weight: 1 },
    { horizons: [] },
    { horizons: [2 * DAY, DAY] },
    { alpha: { harm: 0.05, nonInferiority: 1 } },
    { power: 1 },
    { metrics: [] },
    { metrics: [quality, quality] },
    { metrics: [{ ...quality, margin: 0 }] },
    { metrics: [{ ...quality, metric: 'mood' }] },
    { metrics: [{ ...quality, scale: 'p95' as const }] },
    { metrics: [{ ...latency, scale: 'absolute' as const }] },
  ];
  for (const changes of bad) assert.throws(() => planGate(policyOf(changes), null), RangeError);
});
