import assert from 'node:assert/strict';
import { test } from 'node:test';
import { firstErrorEvidence } from '../../../domain/gate/first-error.ts';
import { look } from '../../../domain/gate/look.ts';
import { planGate } from '../../../domain/gate/plan.ts';
import { sampleRatio } from '../../../domain/gate/sample-ratio.ts';
import type { GateMetric, GatePlan, GatePolicy, TrafficTotals } from '../../../domain/gate/types.ts';
import {
  around,
  compared,
  crowd,
  everyDay,
  near,
  type Person,
  planned,
  tau2,
  total,
  upperShare,
  width,
} from './by-hand.ts';
import { DAY, error, figures, latency, policyOf, quality, START } from './fixtures.ts';

/** What a look decides, against the formulas of the specification worked out by hand on a few hundred users. */

const week = { horizons: [7 * DAY], minUsers: 100, minSamples: 100, weight: 0.4 };

/** A plan for users whose spread is known, so that every figure of it follows from the numbers here. */
function planFor(metrics: GateMetric[], sigma: Record<string, number>, changes: Partial<GatePolicy> = {}) {
  const policy = policyOf({ metrics, ...week, ...changes });
  const users = policy.horizons.map(() => 900);
  return planGate(policy, { users, samplesPerUser: 7, evenness: 1, sigma, rates: {} });
}

function lookAt(plan: GatePlan, people: Person[]) {
  const data = figures(everyDay(people), plan.policy.metrics, { weight: plan.policy.weight });
  return look(plan, data, data.totals.to);
}

const q = 'quality:judge';
const plain = planFor([quality], { [q]: 0.3 });
const hw = (se: number, sigma = 0.3, alpha = 0.05) => width(se, tau2(planned(sigma, 900, 0.4), alpha), alpha);

/** The canary's scores spread wider than the stable arm's, or narrower: then the small-arm guard speaks. */
const wider = crowd(q, { stable: around(180, 0.7, 0.2), canary: around(120, 0.55, 0.5) });
const narrower = crowd(q, { stable: around(180, 0.7, 0.5), canary: around(120, 0.55, 0.05) });

test('the interval of a guard is the one-sided sequence to either side, around the difference of the ratios', () => {
  for (const people of [wider, narrower]) {
    const hand = compared(people, q);
    const [guard] = lookAt(plain, people).guards;
    near(guard?.estimate, hand.d);
    near(guard?.se, hand.se);
    near(guard?.interval?.[0], hand.d - hw(hand.se));
    near(guard?.interval?.[1], hand.d + hw(hand.se));
    assert.equal(guard?.limit, -0.02);
  }
  // Either source of the error is the larger one once.
  assert.ok(compared(wider, q).own > 1.01 * compared(wider, q).guard);
  assert.ok(compared(narrower, q).guard > 1.1 * compared(narrower, q).own);
});

test('users who ask more often weigh more, and each is one cluster', () => {
  const people = around(300, 0.6, 0.35).map((score, index): Person => {
    const requests = 1 + (index % 4);
    const day = Array.from({ length: requests }, (_, n) => ({ [q]: score + 0.05 * n }));
    return { arm: index % 5 < 2 ? 'canary' : 'stable', day };
  });
  const hand = compared(people, q);
  const [guard] = lookAt(plain, people).guards;
  near(guard?.estimate, hand.d);
  near(guard?.se, hand.se);
  assert.deepEqual(guard?.canary, {
    users: 120,
    samples: 7 * total(people.map((p) => (p.arm === 'canary' ? p.day.length : 0))),
  });
});

/** The plan with another tolerance for its first guard. */
function tolerating(plan: GatePlan, tolerance: number): GatePlan {
  return { ...plan, guards: plan.guards.map((guard, n) => (n === 0 ? { ...guard, tolerance } : guard)) };
}

test('a guard stops the canary once the whole interval is worse than the margin, and not at it', () => {
  const hand = compared(wider, q);
  const reached = -(hand.d + hw(hand.se));
  assert.ok(reached > 0.02);
  // To a millionth by hand; to the last digit with what the look itself says.
  assert.equal(lookAt(tolerating(plain, reached * 0.999999), wider).harm, true);
  assert.equal(lookAt(tolerating(plain, reached * 1.000001), wider).harm, false);
  const printed = -(lookAt(plain, wider).guards[0]?.interval?.[1] ?? 0);
  assert.equal(lookAt(tolerating(plain, printed), wider).harm, false);
  assert.equal(lookAt(tolerating(plain, printed - 1e-11), wider).harm, true);
  // As much better is no harm.
  const better = wider.map(
    (person): Person => ({
      ...person,
      day: person.arm === 'canary' ? [{ [q]: (person.day[0]?.[q] ?? 0) + 0.4 }] : person.day,
    }),
  );
  assert.equal(lookAt(plain, better).state, 'ok');
});

test('a latency stops it in the other direction, on the logarithm, by ln(1 + margin)', () => {
  const plan = planFor([latency], { 'latency/log-mean': 0.4 });
  const ln = { stable: around(180, 0.1, 0.5), canary: around(120, 0.55, 0.9) };
  const hand = compared(crowd('latency', ln), 'latency');
  const seconds = crowd('latency', { stable: ln.stable.map(Math.exp), canary: ln.canary.map(Math.exp) });
  const seen = lookAt(plan, seconds);
  const [guard] = seen.guards;
  near(guard?.limit, Math.log(1.1));
  near(guard?.estimate, hand.d, 1e-5);
  const low = hand.d - hw(hand.se, 0.4);
  near(guard?.interval?.[0], low, 1e-5);
  near(guard?.interval?.[1], hand.d + hw(hand.se, 0.4), 1e-5);
  assert.ok(low > Math.log(1.1));
  assert.equal(seen.harm, true);
  const printed = guard?.interval?.[0] ?? 0;
  assert.equal(lookAt(tolerating(plan, printed), seconds).harm, false);
  assert.equal(lookAt(tolerating(plan, printed - 1e-11), seconds).harm, true);
  assert.equal(lookAt(tolerating(plan, hand.d * 0.999), seconds).harm, false);
});

test('one α for all guards: two alike have half each, with a first-error test each of three has a third', () => {
  const both = wider.map(
    (person): Person => ({
      ...person,
      day: person.day.map((values) => ({ ...values, 'quality:other': values[q] ?? 0, error: 0 })),
    }),
  );
  const { d, se } = compared(wider, q);
  const two = planFor([quality, { ...quality, metric: 'quality:other' }], { [q]: 0.3, 'quality:other': 0.3 });
  for (const guard of lookAt(two, both).guards) near(guard.interval?.[1], d + hw(se, 0.3, 0.025));
  const three = planFor([quality, error], { [q]: 0.3 });
  near(lookAt(three, both).guards[0]?.interval?.[1], d + hw(se, 0.3, 0.05 / 3));
  near(lookAt(three, both).firstErrors?.threshold, 60);
});

test('one guard beyond its margin is enough', () => {
  const both = wider.map(
    (person): Person => ({
      ...person,
      day: person.day.map((values) => ({ ...values, 'quality:other': 0.5 + (values[q] ?? 0) / 100 })),
    }),
  );
  const other = { ...quality, metric: 'quality:other' };
  for (const metrics of [
    [quality, other],
    [other, quality],
  ]) {
    const seen = lookAt(planFor(metrics, { [q]: 0.3, 'quality:other': 0.3 }), both);
    assert.deepEqual([seen.harm, seen.state], [true, 'Failed']);
    assert.deepEqual(
      seen.guards.map(({ guard, breached }) => breached === (guard === q)),
      [true, true],
    );
  }
});

test('without an event each arm is bounded by the share that has none with probability α', () => {
  const people = crowd('error', { stable: around(180, 0, 0), canary: around(120, 0, 0) });
  const plan = planFor([error], {});
  const [guard] = lookAt(plan, people).guards;
  // α is halved: the first-error test has the other half. A user's requests share their fate, so users count.
  near(guard?.interval?.[0], -(1 - 0.025 ** (1 / 180)));
  near(guard?.interval?.[1], 1 - 0.025 ** (1 / 120));
  near(guard?.interval?.[1], upperShare(0, 120, 0.025));
});

/** E-value of first errors, one canary share: the mean over the fixed rate ratios of the likelihood ratio. */
function evidence(canary: number, stable: number, share: number): number {
  const ratios = [1.5, 2, 3, 5, 10, 20, 50];
  const bets = ratios.map((ratio) => {
    const theta = (share * ratio) / (share * ratio + 1 - share);
    return (theta / share) ** canary * ((1 - theta) / (1 - share)) ** stable;
  });
  return total(bets) / bets.length;
}

/** `canary` and `stable` users of 120 and 180 meet an error, every day. */
function withErrors(stable: number, canary: number): Person[] {
  const failing = (users: number, failed: number) =>
    Array.from({ length: users }, (_, n) => (n < failed ? 1 : 0));
  return crowd('error', { stable: failing(180, stable), canary: failing(120, canary) });
}

test('first errors stop the canary when the evidence reaches 1/α', () => {
  // A margin that the sequence never reaches: what stops here is the first-error test.
  const plan = planFor([{ ...error, margin: 0.5 }], {});
  for (const [stable, canary, stopped] of [
    [0, 5, false],
    [0, 6, true],
    [1, 7, false],
    [1, 8, true],
    [20, 14, false],
  ] as const) {
    const { firstErrors, harm, state, reasons } = lookAt(plan, withErrors(stable, canary));
    assert.deepEqual([firstErrors?.stable, firstErrors?.canary], [stable, canary]);
    near(firstErrors?.evidence, evidence(canary, stable, 0.4), 1e-9);
    near(firstErrors?.threshold, 1 / 0.025, 1e-9);
    assert.equal(evidence(canary, stable, 0.4) >= 40, stopped, `${stable} and ${canary}`);
    assert.deepEqual([firstErrors?.breached, harm, state === 'Failed'], [stopped, stopped, stopped]);
    assert.equal(
      reasons.some(({ code }) => code === 'first-errors'),
      stopped,
    );
  }
  // At the threshold itself it is reached.
  const exactly = (alphaFirstError: number): GatePlan => ({
    ...plan,
    guards: plan.guards.map((guard) => ({ ...guard, alphaFirstError })),
  });
  const seen = (alpha: number) => lookAt(exactly(alpha), withErrors(1, 6)).firstErrors;
  const value = seen(0.025)?.evidence ?? 0;
  assert.equal(seen(1 / value)?.threshold, value);
  assert.equal(seen(1 / value)?.breached, true);
  assert.equal(seen(1 / (value * (1 + 1e-9)))?.breached, false);
});

const traffic = (stable: number, canary: number, phase = 0): TrafficTotals[] =>
  (
    [
      ['stable', stable],
      ['canary', canary],
    ] as const
  ).map(([arm, users]) => ({
    arm,
    stratum: phase,
    users: users + 7,
    newUsers: users,
    requests: 3 * users + 7,
    firstErrors: 0,
  }));

/** ln of the Bayes factor, c = 100, with rising factorials instead of gamma functions: Γ(a + x)/Γ(a) = a(a+1)…(a+x−1). */
function lnBayes(stable: number, canary: number, share: number): number {
  const rising = (a: number, x: number) => total(Array.from({ length: x }, (_, n) => Math.log(a + n)));
  return (
    rising(100 * (1 - share), stable) +
    rising(100 * share, canary) -
    rising(100, stable + canary) -
    stable * Math.log(1 - share) -
    canary * Math.log(share)
  );
}

test('the sequential sample ratio is the multinomial test with c = 100, phase by phase, on new users', () => {
  for (const [stable, canary] of [
    [0, 5],
    [900, 100],
    [100, 900],
    [860, 140],
  ] as const) {
    const { lnBayesFactor } = sampleRatio(traffic(stable, canary), [{ weight: 0.1 }]);
    near(lnBayesFactor, lnBayes(stable, canary, 0.1), 1e-9);
  }
  const both = [...traffic(400, 60), ...traffic(130, 270, 1)];
  near(
    sampleRatio(both, [{ weight: 0.1 }, { weight: 0.5 }]).lnBayesFactor,
    lnBayes(400, 60, 0.1) + lnBayes(130, 270, 0.5),
    1e-9,
  );
});

test('a look takes the ratio for broken from a factor of 1000 on', () => {
  // 40 % are due. The first count of canary users among 300 whose factor reaches 1000.
  const counts = Array.from({ length: 180 }, (_, more) => 120 + more);
  const first = counts.find((canary) => lnBayes(300 - canary, canary, 0.4) >= Math.log(1000)) ?? 0;
  assert.ok(first > 130 && first < 200);
  const seen = (canary: number) =>
    lookAt(plain, crowd(q, { stable: around(300 - canary, 0.7, 0.2), canary: around(canary, 0.7, 0.2) }));
  for (const [canary, broken] of [
    [first - 1, false],
    [first, true],
  ] as const) {
    const { sampleRatio, state, reasons } = seen(canary);
    near(sampleRatio.lnBayesFactor, lnBayes(300 - canary, canary, 0.4), 1e-9);
    assert.equal(sampleRatio.broken, broken);
    assert.equal(state, broken ? 'Error' : 'ok');
    assert.deepEqual(
      reasons.map(({ code }) => code),
      broken ? ['sample-ratio'] : [],
    );
  }
});

test('first errors in phases of a ramp: the bets of each phase with its own share', () => {
  const rows = (stable: number, canary: number, phase: number) =>
    traffic(50, 50, phase).map((row) => ({ ...row, firstErrors: row.arm === 'canary' ? canary : stable }));
  const { evidence: e } = firstErrorEvidence(
    [...rows(9, 2, 0), ...rows(3, 4, 1)],
    [{ weight: 0.1 }, { weight: 0.5 }],
  );
  const ratios = [1.5, 2, 3, 5, 10, 20, 50];
  const bet = (share: number, ratio: number, stable: number, canary: number) => {
    const theta = (share * ratio) / (share * ratio + 1 - share);
    return (theta / share) ** canary * ((1 - theta) / (1 - share)) ** stable;
  };
  near(e, total(ratios.map((ratio) => bet(0.1, ratio, 9, 2) * bet(0.5, ratio, 3, 4))) / 7, 1e-9);
});

test('a user counts once, where the first request came, and the first error', () => {
  const at = (day: number, arm: 'stable' | 'canary', failed: number) => ({
    at: START + day * DAY,
    user: 'a',
    arm,
    values: { error: failed },
  });
  const { totals } = figures([at(1, 'stable', 1), at(0, 'stable', 0), at(3, 'canary', 1)], [error]);
  const counts = totals.traffic
    .map(({ arm, newUsers, firstErrors }) => `${arm} ${newUsers} ${firstErrors}`)
    .sort();
  assert.deepEqual(counts, ['canary 0 0', 'stable 0 1', 'stable 1 0']);
});

test('a new weight holds from its instant on', () => {
  const since = START + DAY / 2;
  const sample = (at: number) => ({ at, user: `${at}`, arm: 'stable' as const, values: { error: 0 } });
  const phases = [
    { since: START, weight: 0.1 },
    { since, weight: 0.5 },
  ];
  const { totals } = figures([since - 1, since, since + 1].map(sample), [error], { phases });
  const users = totals.traffic.map((row) => [row.stratum, row.newUsers]);
  assert.deepEqual(users, [
    [0, 1],
    [1, 2],
  ]);
});
