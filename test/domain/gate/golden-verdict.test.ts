import assert from 'node:assert/strict';
import { test } from 'node:test';
import tCdf from '@stdlib/stats-base-dists-t-cdf';
import tQuantile from '@stdlib/stats-base-dists-t-quantile';
import { ledgerValue } from '../../../domain/gate/metrics.ts';
import { planGate } from '../../../domain/gate/plan.ts';
import { effectiveSize, lowerLimit, upperLimit } from '../../../domain/gate/rare-rate.ts';
import { chiSquareTest, sampleRatio } from '../../../domain/gate/sample-ratio.ts';
import type { GateMetric, GatePlan, GatePolicy, TrafficTotals, Verdict } from '../../../domain/gate/types.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import type { Arm } from '../../../domain/words.ts';
import {
  around,
  compared,
  crowd,
  differenceShares,
  everyDay,
  lowerShare,
  mean,
  near,
  type Person,
  phi,
  upperShare,
} from './by-hand.ts';
import { DAY, error, figures, latency, policyOf, quality, START } from './fixtures.ts';

/** What the gate decides at a horizon, against the formulas of the specification worked out by hand on a few hundred users. */

const q = 'quality:judge';
const WEEK = 7 * DAY;

function planFor(metrics: GateMetric[], changes: Partial<GatePolicy> = {}): GatePlan {
  const few = { horizons: [WEEK], minUsers: 100, minSamples: 100, weight: 0.4 };
  return planGate(policyOf({ metrics, ...few, ...changes }), null);
}

function verdictOf(plan: GatePlan, people: Person[], horizon = 0): Verdict {
  const after = plan.horizons[horizon]?.after ?? 0;
  const { metrics, weight } = plan.policy;
  return judge(plan, figures(everyDay(people, after / DAY), metrics, { weight, to: START + after }), horizon);
}

/** The plan with another tolerance for its first guard. */
function tolerating(plan: GatePlan, tolerance: number): GatePlan {
  return { ...plan, guards: plan.guards.map((guard, n) => (n === 0 ? { ...guard, tolerance } : guard)) };
}

/** One-sided critical value of Student's t. */
const t = (alpha: number, nu: number) => tQuantile(1 - alpha, nu);

/** The canary's scores spread wider than the stable arm's, or narrower: then the small-arm guard speaks. */
const wider = crowd(q, { stable: around(180, 0.6, 0.1), canary: around(120, 0.59, 0.4) });
const narrower = crowd(q, { stable: around(180, 0.6, 0.4), canary: around(120, 0.61, 0.05) });

const loose = { ...quality, margin: 0.3 };

test('the bound is d − t·SE at one-sided α, ν by Welch and Satterthwaite on users', () => {
  for (const people of [wider, narrower]) {
    const hand = compared(people, q);
    const verdict = verdictOf(planFor([loose]), people);
    const [guard] = verdict.guards;
    near(guard?.degreesOfFreedom, hand.nu);
    near(guard?.bound, hand.d - t(0.05, hand.nu) * hand.se);
    near(guard?.stableMean, hand.stable);
    near(guard?.canaryMean, hand.canary);
    assert.equal(verdict.decision, 'promote');
  }
  // Either source of the error is the larger one once; ν is far from the users of both arms together, and differs from those of an arm.
  assert.ok(compared(wider, q).own > 1.01 * compared(wider, q).guard);
  assert.ok(compared(narrower, q).guard > 1.1 * compared(narrower, q).own);
  assert.ok(compared(wider, q).nu < 130 && compared(narrower, q).nu < 230);
});

test('non-inferior if the bound is better than the margin, not at the margin', () => {
  const plan = planFor([loose], { horizons: [WEEK, 2 * WEEK] });
  const hand = compared(wider, q);
  // The first of two horizons spends half of α.
  const reached = -(hand.d - t(0.025, hand.nu) * hand.se);
  const decided = (tolerance: number) => verdictOf(tolerating(plan, tolerance), wider).decision;
  assert.equal(decided(reached * 1.000001), 'promote');
  assert.equal(decided(reached * 0.999999), 'continue');
  const printed = -(verdictOf(plan, wider).guards[0]?.bound ?? 0);
  assert.equal(decided(printed), 'continue');
  assert.equal(decided(printed + 1e-11), 'promote');
});

test('of a latency the upper bound counts, on the logarithm; its means are geometric', () => {
  const ln = { stable: around(180, 0.1, 0.5), canary: around(120, 0.2, 0.9) };
  const hand = compared(crowd('latency', ln), 'latency');
  const seconds = crowd('latency', { stable: ln.stable.map(Math.exp), canary: ln.canary.map(Math.exp) });
  const plan = planFor([{ ...latency, margin: 0.5 }]);
  const verdict = verdictOf(plan, seconds);
  const [guard] = verdict.guards;
  const bound = hand.d + t(0.05, hand.nu) * hand.se;
  near(guard?.bound, bound, 1e-5);
  near(guard?.limit, Math.log(1.5));
  near(guard?.stableMean, Math.exp(mean(ln.stable)), 1e-5);
  near(guard?.canaryMean, Math.exp(mean(ln.canary)), 1e-5);
  near(guard?.reference?.lift, Math.exp(hand.d) - 1, 1e-4);
  assert.equal(verdict.decision, 'promote');
  const printed = guard?.bound ?? 0;
  assert.equal(verdictOf(tolerating(plan, printed), seconds).decision, 'rollback');
  assert.equal(verdictOf(tolerating(plan, printed + 1e-11), seconds).decision, 'promote');
});

test('α is spent over the horizons: half at the expected one, the rest evenly, and each judges with its own', () => {
  const plan = planFor([loose], { horizons: [WEEK, 2 * WEEK, 3 * WEEK] });
  const hand = compared(wider, q);
  for (const [horizon, alpha, spent] of [
    [0, 0.025, 0.025],
    [1, 0.0125, 0.0375],
    [2, 0.0125, 0.05],
  ] as const) {
    const verdict = verdictOf(plan, wider, horizon);
    near(verdict.guards[0]?.bound, hand.d - t(alpha, hand.nu) * hand.se);
    near(verdict.horizon.alpha, alpha, 1e-9);
    near(verdict.horizon.alphaSpent, spent, 1e-9);
  }
});

test('every guard must be non-inferior', () => {
  const other = { ...quality, metric: 'quality:other' };
  const both = wider.map(
    (person): Person => ({
      ...person,
      day: person.day.map((values) => ({ ...values, 'quality:other': values[q] ?? 0 })),
    }),
  );
  const horizons = [WEEK, 2 * WEEK];
  const decided = (margins: [number, number]) =>
    verdictOf(
      planFor(
        [
          { ...quality, margin: margins[0] },
          { ...other, margin: margins[1] },
        ],
        { horizons },
      ),
      both,
    ).decision;
  // Each at the full α of the horizon: a second guard costs nothing.
  const hand = compared(wider, q);
  const enough = -(hand.d - t(0.025, hand.nu) * hand.se) * 1.001;
  assert.equal(decided([enough, enough]), 'promote');
  assert.equal(decided([enough, 0.01]), 'continue');
  assert.equal(decided([0.01, enough]), 'continue');
});

/** `failing` users of each arm fail `of` their requests, one day like the other. */
function failures(
  arms: Record<Arm, { users: number; failing: number; requests: number; of: number }>,
): Person[] {
  return (['stable', 'canary'] as const).flatMap((arm) => {
    const { users, failing, requests, of } = arms[arm];
    return Array.from(
      { length: users },
      (_, user): Person => ({
        arm,
        day: Array.from({ length: requests }, (_, n) => ({ error: user < failing && n < of ? 1 : 0 })),
      }),
    );
  });
}

const everyError = { ...error, margin: 0.4 };

test('a rate with few events: the exact limit of users, since the requests of a user may share their fate', () => {
  const people = failures({
    stable: { users: 180, failing: 4, requests: 1, of: 1 },
    canary: { users: 120, failing: 3, requests: 3, of: 3 },
  });
  const hand = compared(people, 'error');
  const exact = differenceShares({ events: 4, n: 180 }, { events: 3, n: 120 }, 0.05);
  const [guard] = verdictOf(planFor([everyError]), people).guards;
  assert.ok(exact.upper > 1.05 * (hand.d + t(0.05, hand.nu) * hand.se));
  near(guard?.bound, exact.upper);
  near(guard?.stableMean, 4 / 180);
  near(guard?.canaryMean, 3 / 120);
});

test('without an event a rate is below 1 − α^(1/users)', () => {
  const people = failures({
    stable: { users: 180, failing: 0, requests: 2, of: 0 },
    canary: { users: 120, failing: 0, requests: 2, of: 0 },
  });
  const [guard] = verdictOf(planFor([everyError]), people).guards;
  near(guard?.bound, 1 - 0.05 ** (1 / 120));
});

test('a rate with ten users who met an event: the information of the requests as their clustering shows it', () => {
  // Every failing user fails half of the requests: more is known than from as many users, less than from as many requests.
  const people = failures({
    stable: { users: 180, failing: 5, requests: 2, of: 1 },
    canary: { users: 120, failing: 5, requests: 4, of: 2 },
  });
  const hand = compared(people, 'error');
  const pooled = (5 + 10) / (360 + 480);
  const size = (users: number) => (pooled * (1 - pooled)) / hand.alike(users);
  assert.ok(size(180) > 190 && size(180) < 360 && size(120) > 130 && size(120) < 480);
  const limits = differenceShares(
    { events: hand.stable * size(180), n: size(180) },
    { events: hand.canary * size(120), n: size(120) },
    0.05,
  );
  const [guard] = verdictOf(planFor([everyError]), people).guards;
  assert.ok(limits.upper > 1.01 * (hand.d + t(0.05, hand.nu) * hand.se));
  near(guard?.bound, limits.upper);
  // One fewer, and users count as in the test above.
  const nine = failures({
    stable: { users: 180, failing: 5, requests: 2, of: 1 },
    canary: { users: 120, failing: 4, requests: 4, of: 2 },
  });
  const fewer = differenceShares({ events: 2.5, n: 180 }, { events: 2, n: 120 }, 0.05);
  near(verdictOf(planFor([everyError]), nine).guards[0]?.bound, fewer.upper);
});

test('the normal bound stands where it is worse than the exact one', () => {
  // All who fail are on the canary, in bursts: its own clustering is far beyond that of all users together.
  const people = failures({
    stable: { users: 180, failing: 100, requests: 2, of: 1 },
    canary: { users: 120, failing: 60, requests: 2, of: 2 },
  });
  const hand = compared(people, 'error');
  const normal = hand.d + t(0.05, hand.nu) * hand.se;
  const pooled = (100 + 120) / 600;
  const size = (users: number) => (pooled * (1 - pooled)) / hand.alike(users);
  const exact = differenceShares(
    { events: hand.stable * size(180), n: size(180) },
    { events: hand.canary * size(120), n: size(120) },
    0.05,
  );
  assert.ok(normal > 1.001 * exact.upper);
  near(verdictOf(planFor([everyError]), people).guards[0]?.bound, normal);
});

test('a rate that should be high has its exact limit below', () => {
  const people = failures({
    stable: { users: 180, failing: 4, requests: 1, of: 1 },
    canary: { users: 120, failing: 3, requests: 1, of: 1 },
  }).map(
    (person): Person => ({
      ...person,
      day: person.day.map(({ error: failed }) => ({ violation: failed ?? 0 })),
    }),
  );
  const metric: GateMetric = { ...everyError, metric: 'violation', direction: 'higher' };
  const hand = compared(people, 'violation');
  const exact = differenceShares({ events: 4, n: 180 }, { events: 3, n: 120 }, 0.05);
  assert.ok(exact.lower < hand.d - t(0.05, hand.nu) * hand.se);
  near(verdictOf(planFor([metric]), people).guards[0]?.bound, exact.lower);
});

test('limits of one share, at their ends and between', () => {
  near(lowerLimit(20, 20, 0.05), 0.05 ** (1 / 20));
  near(upperLimit(0, 20, 0.05), 1 - 0.05 ** (1 / 20));
  for (const [events, n, alpha] of [
    [3, 40, 0.05],
    [2.5, 180.7, 0.025],
    [11, 120, 0.0125],
  ] as const) {
    near(upperLimit(events, n, alpha), upperShare(events, n, alpha));
    near(lowerLimit(events, n, alpha), lowerShare(events, n, alpha));
  }
});

test('effective size of an arm: between its users and its requests', () => {
  // 100 users, 10 requests each; rate .1, so .09 of variance a request.
  const arm = { requests: 1000, squares: 100 * 10 ** 2, eventUsers: 10, pooledRate: 0.1 };
  near(effectiveSize({ ...arm, pooledVariance: 0.09 / 400 }), 400);
  near(effectiveSize({ ...arm, pooledVariance: 0.09 / 4000 }), 1000);
  near(effectiveSize({ ...arm, pooledVariance: 0.09 / 40 }), 100);
  near(effectiveSize({ ...arm, pooledVariance: 0.09 / 400, eventUsers: 9 }), 100);
  near(effectiveSize({ ...arm, pooledVariance: 0 }), 100);
});

const better = (metric: string): GateMetric => ({ ...quality, metric, margin: 0.3, role: 'success' });

/** Two scores of the same users; the canary is ahead by so many standard errors in each. */
function ahead(first: number, second: number): Person[] {
  const [stable, canary] = [around(180, 0.5, 0.1), around(120, 0.5, 0.3)];
  const { own, d } = compared(crowd(q, { stable, canary }), q);
  const shifted = (value: number, by: number) => Math.round((value - d + by * own) * 1e6) / 1e6;
  return [
    ...stable.map((value): Person => ({ arm: 'stable', day: [{ 'quality:a': value, 'quality:b': value }] })),
    ...canary.map(
      (value): Person => ({
        arm: 'canary',
        day: [{ 'quality:a': shifted(value, first), 'quality:b': shifted(value, second) }],
      }),
    ),
  ];
}

/** p of "not better", one-sided. */
function pOf(people: Person[], metric: string, sign = 1): number {
  const { d, se, nu } = compared(people, metric);
  return tCdf((-sign * d) / se, nu);
}

test("success metrics are tested against no difference, with Holm's correction", () => {
  const plan = planFor([better('quality:a'), better('quality:b')]);
  for (const [first, second, superior, decision] of [
    // .03 and .04: either alone would pass, together neither does.
    [1.9, 1.77, [false, false], 'rollback'],
    // .02 and .04: the smaller passes at half of α, then the other at the whole.
    [2.08, 1.77, [true, true], 'promote'],
    // One is enough, whichever.
    [3.2, 0.5, [true, false], 'promote'],
    [0.5, 3.2, [false, true], 'promote'],
    [-3.2, -0.5, [false, false], 'rollback'],
  ] as const) {
    const people = ahead(first, second);
    const p = [pOf(people, 'quality:a'), pOf(people, 'quality:b')];
    const twice = 2 * Math.min(...p);
    if (first < 2 && first > 1) assert.ok(twice > 0.05 && Math.max(...p) < 0.045);
    const verdict = verdictOf(plan, people);
    for (const [n, guard] of verdict.guards.entries()) {
      near(guard.superiorityP, Math.min(1, Math.max(p[n] ?? 1, twice)));
    }
    assert.deepEqual(
      verdict.guards.map((guard) => guard.superior),
      superior,
    );
    assert.equal(verdict.decision, decision);
  }
});

test("superior at the horizon's α, also at it; of a latency less is better", () => {
  const people = ahead(1.9, 0);
  const p = pOf(people, 'quality:a');
  assert.ok(p > 0.026 && p < 0.034);
  // The whole α in one horizon suffices, half of it does not.
  assert.equal(verdictOf(planFor([better('quality:a')]), people).decision, 'promote');
  const halved = planFor([better('quality:a')], { horizons: [WEEK, 2 * WEEK] });
  assert.equal(verdictOf(halved, people).decision, 'continue');
  const printed = verdictOf(halved, people).guards[0]?.superiorityP ?? 0;
  near(printed, p);
  const at = (alpha: number): GatePlan => ({
    ...halved,
    horizons: halved.horizons.map((horizon) => ({ ...horizon, alpha })),
  });
  assert.equal(verdictOf(at(printed), people).guards[0]?.superior, true);
  assert.equal(verdictOf(at(printed * (1 - 1e-9)), people).guards[0]?.superior, false);

  const faster: GateMetric = { ...latency, margin: 0.5, role: 'success' };
  const ln = { stable: around(180, 0.1, 0.5), canary: around(120, -0.08, 0.9) };
  const seconds = crowd('latency', { stable: ln.stable.map(Math.exp), canary: ln.canary.map(Math.exp) });
  const expected = pOf(crowd('latency', ln), 'latency', -1);
  assert.ok(expected < 0.01);
  const verdict = verdictOf(planFor([faster]), seconds);
  near(verdict.guards[0]?.superiorityP, expected, 1e-4);
  assert.equal(verdict.decision, 'promote');
});

test('the sample ratio at the horizon: χ² of users, invalid below .001', () => {
  // 300 users, 40 % due: χ² = (x − 120)² / 72. 147: 10.125, p .00146. 148: 10.889, p .00097 (table: .001 at 10.828).
  const plan = planFor([{ ...loose, margin: 0.9 }]);
  for (const [canary, chiSquare, decision] of [
    [147, 10.125, 'promote'],
    [148, 784 / 72, 'invalid'],
    [92, 784 / 72, 'invalid'],
  ] as const) {
    const people = crowd(q, { stable: around(300 - canary, 0.6, 0.2), canary: around(canary, 0.6, 0.2) });
    // The canary users ask twice as often: only users count.
    const twice = people.map(
      (person): Person =>
        person.arm === 'canary' ? { ...person, day: [...person.day, ...person.day] } : person,
    );
    const small = planFor([{ ...loose, margin: 0.9 }], { minUsers: 2, minSamples: 2 });
    const verdict = verdictOf(canary < 100 ? small : plan, twice);
    near(verdict.sampleRatio.chiSquare, chiSquare);
    near(verdict.sampleRatio.pValue, 2 * phi(-Math.sqrt(chiSquare)));
    near(verdict.sampleRatio.expectedCanary, 120);
    assert.equal(verdict.sampleRatio.broken, decision === 'invalid');
    assert.equal(verdict.decision, decision);
  }
});

const traffic = (stable: number, canary: number, stratum = 0): TrafficTotals[] =>
  (
    [
      ['stable', stable],
      ['canary', canary],
    ] as const
  ).map(([arm, users]) => ({
    arm,
    stratum,
    users: users + 5,
    newUsers: users,
    requests: 3 * users,
    firstErrors: 0,
  }));

test('χ² wants eight expected users in each arm, and adds the phases of a ramp up', () => {
  const p = (stable: number, canary: number, weight: number) =>
    sampleRatio(traffic(stable, canary), [{ weight }]).pValue;
  // 8 due of 80, 7.9 of 79; 24 instead of them would be far too many.
  near(p(56, 24, 0.1), 2 * phi(-(16 / Math.sqrt(7.2))));
  assert.equal(p(55, 24, 0.1), 1);
  near(p(24, 56, 0.9), 2 * phi(-(16 / Math.sqrt(7.2))), 1e-5);
  assert.equal(p(24, 55, 0.9), 1);
  assert.equal(chiSquareTest([55, 24], [0.9, 0.1]).pValue, null);
  near(chiSquareTest([56, 24], [0.9, 0.1]).pValue, 2 * phi(-(16 / Math.sqrt(7.2))));
  const ramp = sampleRatio(
    [...traffic(880, 120), ...traffic(480, 520, 1)],
    [{ weight: 0.1 }, { weight: 0.5 }],
  );
  near(ramp.chiSquare, 40 ** 2 / (1000 * 0.1 * 0.9 + 1000 * 0.5 * 0.5));
  near(ramp.expectedCanary, 600);
});

test('nothing is faster or cheaper than what can be told apart: 1 ms, 0.1 ms a token, a millionth of a dollar', () => {
  for (const [metric, floor] of [
    ['latency', 1e-3],
    ['ttft', 1e-3],
    ['tpot', 1e-4],
    ['cost', 1e-6],
  ] as const) {
    for (const [value, as] of [
      [0, floor],
      [0.2 * floor, floor],
      [3 * floor, 3 * floor],
    ] as const) {
      assert.deepEqual(ledgerValue(metric, value), { value: Math.round(1e6 * Math.log(as)) });
    }
  }
});
