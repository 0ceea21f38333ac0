import assert from 'node:assert/strict';
import { test } from 'node:test';
import { baselineOf, baselineRequests } from '../../../domain/gate/baseline.ts';
import type { GateSample } from '../../../domain/gate/collect.ts';
import { influenceSums, totalsOf } from '../../../domain/gate/in-memory.ts';
import { planGate } from '../../../domain/gate/plan.ts';
import type { GateBaseline, GateMetric, GatePolicy } from '../../../domain/gate/types.ts';
import {
  around,
  compared,
  differenceShares,
  everyDay,
  near,
  type Person,
  phi,
  planned,
  tau2,
  total,
  width,
  z,
} from './by-hand.ts';
import { collect, DAY, error, latency, policyOf, quality, START } from './fixtures.ts';

/** The figures of a plan, against the formulas of the specification worked out by hand. */

const q = 'quality:judge';
const WEEK = 7 * DAY;
const weeks = (count: number) => Array.from({ length: count }, (_, n) => (n + 1) * WEEK);

function plan(
  metrics: GateMetric[],
  baseline: Partial<GateBaseline> = {},
  changes: Partial<GatePolicy> = {},
) {
  const policy = policyOf({ metrics, horizons: [WEEK], minUsers: 1, minSamples: 1, ...changes });
  const users = policy.horizons.map(() => 50_000);
  return planGate(policy, { users, samplesPerUser: 5, evenness: 1, sigma: {}, rates: {}, ...baseline });
}

/** gate.md (d): K = σ²(z_{1−α} + z_{1−β})² / (q(1 − q) margin²); 3 % more error are allowed for the small-arm guard. */
function usersByHand(sigma: number, alpha: number, power: number, weight: number, margin: number): number {
  const k = (sigma ** 2 * (z(alpha) + z(1 - power)) ** 2) / (weight * (1 - weight) * margin ** 2);
  return 1.03 ** 2 * k;
}

/** Users are whole, and found to a part in a million. */
const nearUsers = (actual: number | undefined, expected: number) =>
  assert.ok(
    actual !== undefined && Math.abs(actual - expected) <= 1 + 3e-6 * expected,
    `${actual} users, not ${expected}`,
  );

test('the users that a guard needs are those of the K formula, at the α of the horizon', () => {
  for (const [sigma, margin, weight, power, horizons] of [
    [0.3, 0.02, 0.1, 0.9, 1],
    [0.3, 0.02, 0.1, 0.9, 4],
    [0.14, 0.02, 0.5, 0.8, 2],
    [0.25, 0.05, 0.3, 0.95, 3],
    [0.25, 0.05, 0.7, 0.95, 1],
  ] as const) {
    const made = plan(
      [{ ...quality, margin }],
      { sigma: { [q]: sigma } },
      { weight, power, horizons: weeks(horizons) },
    );
    const alpha = horizons === 1 ? 0.05 : 0.025;
    const k = usersByHand(sigma, alpha, power, weight, margin);
    nearUsers(made.usersNeeded, k);
    nearUsers(made.guards[0]?.usersNeeded, k);
    nearUsers(made.horizons[0]?.usersNeeded, k);
    // The other horizons share the other half of α.
    const rest = 0.025 / (horizons - 1);
    for (const horizon of made.horizons.slice(1)) {
      nearUsers(horizon.usersNeeded, usersByHand(sigma, rest, power, weight, margin));
    }
  }
  // With the default weight and α: z = 1.644854 + 1.281552, K = 0.09 · 8.563853 / (0.09 · 0.0004).
  nearUsers(plan([quality], { sigma: { [q]: 0.3 } }).usersNeeded, 1.0609 * 21409.63);
  const seconds = plan([latency], { sigma: { 'latency/log-mean': 0.4 } });
  nearUsers(seconds.usersNeeded, usersByHand(0.4, 0.05, 0.9, 0.1, Math.log(1.1)));
  assert.equal(seconds.guards[0]?.usersNeeded, seconds.usersNeeded);
  const rising = plan([{ ...latency, direction: 'higher' }], { sigma: { 'latency/log-mean': 0.4 } });
  nearUsers(rising.usersNeeded, usersByHand(0.4, 0.05, 0.9, 0.1, -Math.log(0.9)));
});

test("and never fewer than bring the policy's users and samples to the smaller arm", () => {
  const sigma = { [q]: 0.001 };
  for (const weight of [0.2, 0.8]) {
    nearUsers(plan([quality], { sigma }, { weight, minUsers: 250 }).usersNeeded, 250 / 0.2);
    nearUsers(plan([quality], { sigma }, { weight, minSamples: 3000 }).usersNeeded, 3000 / 5 / 0.2);
  }
});

test('a canary that varies twice as much: its share of the variance doubles', () => {
  // V = σ²/(K q) + σ²/(K(1 − q)): the canary's part is 1 − q of the whole.
  for (const weight of [0.3, 0.6]) {
    const made = plan([quality], { sigma: { [q]: 0.3 } }, { weight });
    nearUsers(
      made.usersNeededIfNoisy,
      usersByHand(0.3, 0.05, 0.9, weight, 0.02) * (2 * (1 - weight) + weight),
    );
  }
});

test('the sequence is planned for the expected users; the smallest harm is margin + width + luck', () => {
  const sigmas = { [q]: 0.3, 'latency/log-mean': 0.5 };
  for (const [metric, tolerance, sigma, asMargin] of [
    [quality, 0.02, 0.3, (effect: number) => effect],
    [latency, Math.log(1.1), 0.5, (effect: number) => Math.exp(effect) - 1],
    [
      { ...latency, direction: 'higher' as const },
      -Math.log(0.9),
      0.5,
      (effect: number) => 1 - Math.exp(-effect),
    ],
  ] as const) {
    for (const users of [30_000, 90_000]) {
      const [guard] = plan([metric], { sigma: sigmas, users: [users] }).guards;
      const se = planned(sigma, users, 0.1);
      near(guard?.alphaHarm, 0.05, 1e-9);
      near(guard?.tolerance, tolerance, 1e-9);
      near(guard?.sePlan, se, 1e-9);
      near(guard?.tau2, tau2(se, 0.05), 1e-9);
      // gate.md prints the width there: 2.779 standard errors; 90 % are luckier than 1.2816 of them.
      near(guard?.smallestHarm, tolerance + (2.779 + 1.28155) * se, 2e-4);
      const harm = tolerance + width(se, tau2(se, 0.05), 0.05) + z(0.1) * se;
      near(guard?.smallestHarm, harm, 1e-9);
      near(guard?.smallestHarmAsMargin, asMargin(harm), 1e-9);
    }
  }
  // Without earlier traffic it is planned for the users that are needed.
  const blind = planGate(policyOf({ metrics: [quality], horizons: [WEEK] }), null);
  near(blind.guards[0]?.sePlan, planned(blind.guards[0]?.sigma ?? 0, blind.usersNeeded, 0.1), 1e-9);
});

/** Users with which a harm of two margins, one beyond the limit, is stopped: (width + luck)·SE = margin. */
function usersToStop(sigma: number, alpha: number, power: number, margin: number, weight = 0.1): number {
  const widths = width(1, tau2(1, alpha), alpha) + z(1 - power);
  return (1.03 * sigma * (widths / margin)) ** 2 / (weight * (1 - weight));
}

test('users to stop a harm of two margins', () => {
  for (const [alpha, printed] of [
    [0.05, 2.779],
    [0.01, 3.355],
  ] as const) {
    const changes = { alpha: { harm: alpha, nonInferiority: 0.05 }, power: 0.8 };
    const made = plan([quality], { sigma: { [q]: 0.3 } }, changes);
    nearUsers(made.usersToStopTwoMargins, usersToStop(0.3, alpha, 0.8, 0.02));
    near(made.usersToStopTwoMargins, (1.03 * 0.3 * ((printed + 0.841621) / 0.02)) ** 2 / 0.09, 5e-4);
  }
  const made = plan([quality, latency], { sigma: { [q]: 0.3, 'latency/log-mean': 0.1 } });
  const [score, seconds] = made.guards;
  nearUsers(score?.usersToStopTwoMargins, usersToStop(0.3, score?.alphaHarm ?? 0, 0.9, 0.02));
  nearUsers(seconds?.usersToStopTwoMargins, usersToStop(0.1, seconds?.alphaHarm ?? 0, 0.9, Math.log(1.1)));
  near(score?.sePlan, planned(0.3, 50_000, 0.1), 1e-9);
  near(seconds?.sePlan, planned(0.1, 50_000, 0.1), 1e-9);
  near(seconds?.tau2, tau2(planned(0.1, 50_000, 0.1), seconds?.alphaHarm ?? 0), 1e-9);
  // The slowest guard says when any is stopped.
  assert.equal(made.usersToStopTwoMargins, score?.usersToStopTwoMargins);
  assert.ok((seconds?.usersToStopTwoMargins ?? 0) < made.usersToStopTwoMargins / 10);
});

test('α of harm: where needs are near each other, split so that the same users suffice for all', () => {
  const other = { ...quality, metric: 'quality:other' };
  const third = { ...quality, metric: 'quality:third' };
  const spent = (made: ReturnType<typeof plan>) =>
    total(made.guards.map((guard) => guard.alphaHarm + guard.alphaFirstError));
  const close = plan([quality, other], { sigma: { [q]: 0.3, 'quality:other': 0.29 } });
  near(spent(close), 0.05, 1e-9);
  const [a, b] = close.guards;
  assert.ok((a?.alphaHarm ?? 0) > 1.1 * (b?.alphaHarm ?? 0));
  near(a?.usersToStopTwoMargins, b?.usersToStopTwoMargins ?? 0, 1e-4);
  // One that needs few keeps half an even share; the others gain what it leaves.
  const far = plan([quality, other, third], {
    sigma: { [q]: 0.3, 'quality:other': 0.3, 'quality:third': 0.05 },
  });
  near(spent(far), 0.05, 1e-9);
  near(far.guards[2]?.alphaHarm, 0.05 / 6, 1e-6);
  near(far.guards[0]?.alphaHarm, (0.05 - 0.05 / 6) / 2, 1e-6);
  // An error rate counts twice: its sequence and its first-error test have an even share each.
  const errors = plan([quality, error], { sigma: { [q]: 0.3, error: 0.1 } });
  for (const share of [
    errors.guards[0]?.alphaHarm,
    errors.guards[1]?.alphaHarm,
    errors.guards[1]?.alphaFirstError,
  ]) {
    near(share, 0.05 / 3, 1e-9);
  }
  assert.equal(errors.guards[0]?.alphaFirstError, 0);
  // It is alone in that.
  const violations = plan([{ ...error, metric: 'violation' }], { sigma: { violation: 0.1 } });
  near(violations.guards[0]?.alphaHarm, 0.05, 1e-9);
  assert.equal(violations.guards[0]?.alphaFirstError, 0);
});

test('power at a horizon, alone and together; the first horizon that has enough is the expected one', () => {
  const other = { ...quality, metric: 'quality:other' };
  const sigma = { [q]: 0.3, 'quality:other': 0.28 };
  const powerAt = (users: number, alpha: number, spread: number) =>
    phi(0.02 / planned(spread, users, 0.1) - z(alpha));
  // Half of α is enough to reach .9 with 28,000 users, not with 26,000; a sixth of it is not even with these.
  const users = [9000, 26_000, 28_000, 29_000];
  const made = plan([quality], { sigma, users }, { horizons: weeks(4) });
  assert.equal(made.expectedHorizon, 2);
  assert.equal(made.refusal, null);
  for (const [index, horizon] of made.horizons.entries()) {
    const alpha = index === 2 ? 0.025 : 0.025 / 3;
    near(horizon.alpha, alpha, 1e-9);
    near(horizon.power, powerAt(users[index] ?? 0, alpha, 0.3), 1e-6);
  }
  // As the last digit of the expected horizon has it: α is chosen with the horizon.
  assert.ok(powerAt(26_000, 0.025, 0.3) < 0.9 && powerAt(28_000, 0.025, 0.3) > 0.9);
  const both = plan([quality, other], { sigma, users: [40_000] });
  near(both.horizons[0]?.power, powerAt(40_000, 0.05, 0.3) + powerAt(40_000, 0.05, 0.28) - 1, 1e-6);
});

test('a policy is refused if its last horizon lacks the users that the formula needs, by however few', () => {
  const sigma = { [q]: 0.3 };
  const needed = usersByHand(0.3, 0.025, 0.9, 0.1, 0.02);
  const made = (users: number) =>
    plan([quality], { sigma, users: [users / 2, users] }, { horizons: weeks(2) });
  assert.equal(made(needed + 2).refusal, null);
  assert.equal(made(needed + 2).expectedHorizon, 1);
  const { refusal } = made(needed - 2);
  nearUsers(refusal?.usersNeeded, needed);
  assert.equal(refusal?.usersExpected, Math.floor(needed - 2));
  assert.equal(refusal?.guard, q);
});

test('a rate without any event needs ln α / ln(1 − margin) users on the canary, more if they are uneven', () => {
  const users = (margin: number, evenness: number, horizons: number) =>
    plan([{ ...error, margin }], { evenness, rates: { error: 0 } }, { horizons: weeks(horizons) });
  // ln .05 / ln .995 = 597.6; ln .025 / ln .995 = 735.9; ln .05 / ln .98 = 148.3.
  for (const [margin, evenness, horizons, expected] of [
    [0.005, 1, 1, 598],
    [0.005, 0.5, 1, 1196],
    [0.005, 1, 4, 736],
    [0.02, 0.25, 1, 596],
  ] as const) {
    const made = users(margin, evenness, horizons);
    assert.equal(made.guards[0]?.canaryUsersIfNoEvent, expected);
    // A tenth of the users are on the canary.
    nearUsers(made.usersNeeded, 10 * expected);
  }
  assert.equal(plan([quality], { sigma: { [q]: 0.3 } }).guards[0]?.canaryUsersIfNoEvent, 0);
  // Of a rate that nobody knows, the spread alone.
  nearUsers(plan([error], { sigma: { error: 0.1 } }).usersNeeded, usersByHand(0.1, 0.05, 0.9, 0.1, 0.005));
});

/** Is a rate found non-inferior by the exact limit if the canary is unlucky by so many standard errors? */
function exactLimit(k: number, rate: number, sigma: number, perUser: number, unlucky: number, alpha: number) {
  const canary = rate + unlucky * planned(sigma, k, 0.1);
  return differenceShares(
    { events: rate * 0.9 * k * perUser, n: 0.9 * k * perUser },
    { events: canary * 0.1 * k * perUser, n: 0.1 * k * perUser },
    alpha,
  ).upper;
}

test('a rate needs the users with which its exact limit holds although the canary is as unlucky as 1 in 10', () => {
  const made = (rate: number, sigma: number, evenness: number) =>
    plan([error], { sigma: { error: sigma }, rates: { error: rate }, evenness, samplesPerUser: 5 })
      .usersNeeded;
  // Many events: their clustering is known, and a user tells as much as rate·(1 − rate)/σ² requests.
  const known = made(0.004, 0.04, 0.6);
  const perUser = (0.004 * 0.996) / 0.04 ** 2;
  assert.ok(exactLimit(known * 1.001, 0.004, 0.04, perUser, z(0.1), 0.05) < 0.005);
  assert.ok(exactLimit(known * 0.999, 0.004, 0.04, perUser, z(0.1), 0.05) > 0.005);
  // The exact limit asks for more than the normal one.
  assert.ok(known > 1.03 * usersByHand(0.04, 0.05, 0.9, 0.1, 0.005));
  // 20 events suffice for that, though they be of fewer users.
  const barely = made(0.001, 0.02, 0.6);
  const each = (0.001 * 0.999) / 0.02 ** 2;
  assert.ok(barely * 0.001 < 18 && barely * 5 * 0.001 > 22, `${barely}`);
  assert.ok(exactLimit(barely * 1.001, 0.001, 0.02, each, z(0.1), 0.05) < 0.005);
  assert.ok(exactLimit(barely * 0.999, 0.001, 0.02, each, z(0.1), 0.05) > 0.005);
  // So few events (under 20 expected) that a user counts as one request, or fewer if users are uneven.
  const rare = made(0.0003, 0.008, 0.6);
  assert.ok(rare * 5 * 0.0003 < 20);
  assert.ok(exactLimit(rare * 1.001, 0.0003, 0.008, 0.6, z(0.1), 0.05) < 0.005);
  assert.ok(exactLimit(rare * 0.999, 0.0003, 0.008, 0.6, z(0.1), 0.05) > 0.005);
  // Few events in long bursts: the normal limit asks for more than the exact one.
  nearUsers(made(0.0001, 0.085, 1), usersByHand(0.085, 0.05, 0.9, 0.1, 0.005));
});

test('what is assumed without earlier traffic is not on the small side of what it is said to stand for', () => {
  const sigma = (metric: GateMetric) => planGate(policyOf({ metrics: [metric] }), null).guards[0]?.sigma ?? 0;
  // SD 0.3, intraclass correlation 0.2, five requests a user: the mean of a user has 0.3²(0.2 + 0.8/5).
  assert.ok(sigma(quality) >= 0.3 * Math.sqrt(0.2 + 0.8 / 5));
  assert.ok(sigma(latency) >= 0.6 * Math.sqrt(0.2 + 0.8 / 5));
  // 1 % errors in runs of two: twice the variance of single ones.
  assert.ok(sigma(error) >= Math.sqrt((2 * 0.01 * 0.99) / 5));
});

/** The baseline from the users of the stable arm alone. */
function baselineFrom(samples: Iterable<GateSample>, policy: GatePolicy) {
  const data = collect(samples, policy.metrics, { weight: 0 });
  const totals = totalsOf(data);
  return baselineOf(policy, {
    totals,
    sums: baselineRequests(policy.metrics, totals).map((request) => influenceSums(request, data)),
  });
}

test('a baseline: spread of the influence, rate and evenness as the users before the release show them', () => {
  const people = around(200, 0.6, 0.35).map((score, index): Person => {
    const day = Array.from({ length: 1 + (index % 4) }, (_, n) => ({
      [q]: score + 0.05 * n,
      error: index % 10 === 0 && n === 0 ? 1 : 0,
    }));
    return { arm: 'stable', day };
  });
  const baseline = baselineFrom(everyDay(people), policyOf({ metrics: [quality, error], horizons: [WEEK] }));
  // `alike` of one user is σ²: Σ(S − μN)² / ((K − 1)·N̄²).
  near(baseline?.sigma[q], Math.sqrt(compared(people, q).alike(1)));
  near(baseline?.sigma.error, Math.sqrt(compared(people, 'error').alike(1)));
  // 20 of 500 requests a day; 1, 2, 3 and 4 requests by 50 users each.
  near(baseline?.rates.error, 20 / 500);
  near(baseline?.samplesPerUser, (7 * 500) / 200);
  near(baseline?.evenness, 500 ** 2 / (200 * 50 * (1 + 4 + 9 + 16)));
  assert.deepEqual(baseline?.users, [200]);
});

test('users of later horizons: new ones come as they still came in the last third of what was seen', () => {
  const arrivals = [70, 50, 40, 35, 30, 28, 27];
  const samples = arrivals.flatMap((count, day) =>
    Array.from({ length: count }, (_, user) => ({
      at: START + day * DAY + 1000 * user,
      user: `u${day} ${user}`,
      arm: 'stable' as const,
      values: { [q]: user % 2 },
    })),
  );
  const horizons = [3 * DAY, WEEK, 2 * WEEK, 4 * WEEK];
  const users = baselineFrom(samples, policyOf({ metrics: [quality], horizons }))?.users;
  // 70 + 50 + 40 in three days, 280 in all; of the last 2⅓ days the slices of 28 and 27: 55 / 2⅓ a day.
  assert.deepEqual(users, [
    160,
    280,
    Math.floor(280 + (55 / (7 / 3)) * 7),
    Math.floor(280 + (55 / (7 / 3)) * 21),
  ]);
});

test('with a success metric the plan says what gain it takes, and promises no promotion to an equal canary', () => {
  const success = { ...quality, role: 'success' as const };
  const [one] = plan([success], { sigma: { [q]: 0.3 }, users: [60_000] }).guards;
  const se = planned(0.3, 60_000, 0.1);
  near(one?.smallestGainAsMargin, (z(0.05) + z(0.1)) * se, 1e-9);
  // Two of them share α, as Holm's first step does; a latency gains by falling: 1 − exp(−Δ).
  const both = plan([success, { ...latency, role: 'success' }], {
    sigma: { [q]: 0.3, 'latency/log-mean': 0.5 },
    users: [60_000],
  });
  near(both.guards[0]?.smallestGainAsMargin, (z(0.025) + z(0.1)) * se, 1e-9);
  const fall = (z(0.025) + z(0.1)) * planned(0.5, 60_000, 0.1);
  near(both.guards[1]?.smallestGainAsMargin, 1 - Math.exp(-fall), 1e-9);
  assert.match(both.words[0] ?? '', /is then found to be no worse with a chance of at least 9\d/);
  assert.ok(
    both.words.some((words) =>
      /must also be better: .*quality:judge by 0\.0\d+, or latency.* by \d/.test(words),
    ),
  );

  const guard = plan([quality], { sigma: { [q]: 0.3 }, users: [60_000] });
  assert.equal(guard.guards[0]?.smallestGainAsMargin, null);
  assert.match(guard.words[0] ?? '', /is then promoted/);
});
