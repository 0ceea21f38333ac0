import assert from 'node:assert/strict';
import { test } from 'node:test';
import tQuantile from '@stdlib/stats-base-dists-t-quantile';
import { baselineOf, baselineRequests } from '../../../domain/gate/baseline.ts';
import type { GateSample } from '../../../domain/gate/collect.ts';
import { estimateOf } from '../../../domain/gate/estimate.ts';
import { influenceSums, totalsOf } from '../../../domain/gate/in-memory.ts';
import { planGate } from '../../../domain/gate/plan.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import type { Arm } from '../../../domain/words.ts';
import { around, compared, crowd, everyDay, near, type Person, total } from './by-hand.ts';
import { collect, DAY, figures, latencyP95, policyOf, quality, START } from './fixtures.ts';

/**
 * Clustered percentiles and strata, worked out by hand. Latencies lie in classes 5 % wide: class c holds 1.05^c to 1.05^(c+1) seconds, and
 * within a class the logarithm is taken to be spread evenly.
 */
const STEP = Math.log(1.05);
const secondsOf = (place: number) => 1.05 ** (place + 0.5);

/** Each user's classes, one a request. */
type Users = number[][];

/** Shares of the classes, in their order; `weight` of a request. */
function shares(requests: readonly { place: number; weight: number }[]) {
  const places = [...new Set(requests.map(({ place }) => place))].sort((a, b) => a - b);
  const all = total(requests.map(({ weight }) => weight));
  return places.map((place) => ({
    place,
    share: total(requests.filter((request) => request.place === place).map(({ weight }) => weight)) / all,
  }));
}

/** Class and part of it below which a share p of the requests lies. */
function percentile(of: ReturnType<typeof shares>, p: number): number {
  let below = 0;
  for (const { place, share } of of) {
    if (below + share >= p) return place + (p - below) / share;
    below += share;
  }
  return Number.NaN;
}

const even = (users: Users) => shares(users.flat().map((place) => ({ place, weight: 1 })));

/** Σ(S − ēN)² over the users, S = requests above the percentile (its own class counts in part); with N̄ and K. */
function exceedances(users: Users) {
  const at = percentile(even(users), 0.95);
  const above = (place: number) => Math.min(1, Math.max(0, place + 1 - at));
  const requests = users.flat().length;
  const share = total(users.flat().map(above)) / requests;
  near(share, 0.05, 1e-9);
  return {
    at,
    k: users.length,
    perUser: requests / users.length,
    squares: total(users.map((places) => (total(places.map(above)) - share * places.length) ** 2)),
  };
}

/** Woodruff: the error of the share carried over to the logarithm of the percentile, at 1.96 of them. */
function woodruff(users: Users, varianceOfShare: number): number {
  const reach = 1.96 * Math.sqrt(varianceOfShare);
  const to = (p: number) => percentile(even(users), p) * STEP;
  return (to(0.95 + reach) - to(0.95 - reach)) / (2 * 1.96);
}

function byHand(arms: Record<Arm, Users>) {
  const [s, c] = [exceedances(arms.stable), exceedances(arms.canary)];
  const own = {
    stable: woodruff(arms.stable, s.squares / (s.k - 1) / s.k / s.perUser ** 2),
    canary: woodruff(arms.canary, c.squares / (c.k - 1) / c.k / c.perUser ** 2),
  };
  // As many requests a user in both arms: N̄ of all users is that of each.
  const s0 = (s.squares + c.squares) / (s.k + c.k - 1) / s.perUser ** 2;
  const alike = { stable: woodruff(arms.stable, s0 / s.k), canary: woodruff(arms.canary, s0 / c.k) };
  const [ownSe, alikeSe] = [Math.hypot(own.stable, own.canary), Math.hypot(alike.stable, alike.canary)];
  return {
    stable: s.at * STEP,
    canary: c.at * STEP,
    d: (c.at - s.at) * STEP,
    ownSe,
    alikeSe,
    se: Math.max(ownSe, alikeSe),
    nu: ownSe ** 4 / (own.stable ** 4 / (s.k - 1) + own.canary ** 4 / (c.k - 1)),
  };
}

/** Users with two requests a day, both as slow, or the second as slow as another user's. */
function slow(count: number, tail: number, alike: boolean): Users {
  const place = (index: number) => Math.floor(tail * -Math.log(1 - (index + 0.5) / count));
  return Array.from({ length: count }, (_, n) => [place(n), place(alike ? n : (n * 37 + 11) % count)]);
}

function peopleOf(arms: Record<Arm, Users>): Person[] {
  return (['stable', 'canary'] as const).flatMap((arm) =>
    arms[arm].map(
      (places): Person => ({
        arm,
        day: places.map((place) => ({ latency: secondsOf(place) })),
      }),
    ),
  );
}

test('p95: Woodruff with users as clusters, the small-arm guard, and t at the horizon', () => {
  const policy = policyOf({
    metrics: [{ ...latencyP95, margin: 2 }],
    horizons: [7 * DAY],
    minUsers: 100,
    minSamples: 100,
    weight: 0.4,
  });
  for (const [arms, larger] of [
    [{ stable: slow(180, 8, false), canary: slow(120, 9, true) }, 'own'],
    [{ stable: slow(180, 9, true), canary: slow(120, 8, false) }, 'alike'],
  ] as const) {
    const hand = byHand(arms);
    assert.equal(hand.ownSe > hand.alikeSe ? 'own' : 'alike', larger);
    assert.ok(Math.abs(hand.ownSe - hand.alikeSe) > 0.02 * hand.se);
    const data = figures(everyDay(peopleOf(arms)), policy.metrics, { weight: 0.4 });
    const verdict = judge(planGate(policy, null), data, 0);
    const [guard] = verdict.guards;
    near(guard?.estimate, hand.d);
    near(guard?.se, hand.se, 1e-5);
    near(guard?.degreesOfFreedom, hand.nu, 1e-4);
    near(guard?.bound, hand.d + tQuantile(0.95, hand.nu) * hand.se, 1e-5);
    near(guard?.stableMean, Math.exp(hand.stable));
    near(guard?.canaryMean, Math.exp(hand.canary));
    assert.equal(verdict.decision, 'promote');
  }
});

test('a baseline of a percentile: its error where the smaller arm will be, and 3 % for a tail that varies', () => {
  const users = slow(200, 8, true);
  const policy = policyOf({ metrics: [latencyP95], horizons: [7 * DAY], weight: 0.4 });
  const people = peopleOf({ stable: users, canary: [] });
  const data = collect(everyDay(people), policy.metrics, { weight: 0 });
  const totals = totalsOf(data);
  const sums = baselineRequests(policy.metrics, totals).map((request) => influenceSums(request, data));
  const { squares, k, perUser } = exceedances(users);
  // 80 of the 200 users would be on the canary.
  const se = woodruff(users, squares / (k - 1) / perUser ** 2 / 80);
  near(baselineOf(policy, { totals, sums })?.sigma['latency/p95'], 1.03 * se * Math.sqrt(80), 1e-5);
});

/** Requests of users who come on one day only: the clusters of two strata are then different users. */
function* oneDayEach(days: Person[][]): Generator<GateSample> {
  for (const [number, people] of days.entries()) {
    for (const [index, { arm, day }] of people.entries()) {
      for (const values of day) {
        yield { at: START + number * DAY + index * 1000, user: `${number} ${index}`, arm, values };
      }
    }
  }
}

test('two days of different users: differences and variances by the Mantel–Haenszel weights', () => {
  const q = 'quality:judge';
  const days = [
    crowd(q, { stable: around(100, 0.3, 0.1), canary: around(50, 0.35, 0.3) }),
    crowd(q, { stable: around(200, 0.8, 0.15), canary: around(100, 0.75, 0.4) }),
  ];
  // On the first day each user asks three times: 150 · 300 / 450 against 100 · 200 / 300.
  days[0] = (days[0] ?? []).map((person) => ({
    ...person,
    day: [...person.day, ...person.day, ...person.day],
  }));
  const weights = [100 / (100 + 200 / 3), 200 / 3 / (100 + 200 / 3)];
  const hands = days.map((people) => compared(people, q));
  const sum = (of: (hand: (typeof hands)[number]) => number, power: number) =>
    total(hands.map((hand, n) => (weights[n] ?? 0) ** power * of(hand)));
  const estimate = estimateOf(quality, figures(oneDayEach(days), [quality], { weight: 1 / 3 }));
  assert.ok(typeof estimate === 'object');
  near(
    estimate.difference,
    sum((hand) => hand.d, 1),
  );
  near(
    estimate.means.stable,
    sum((hand) => hand.stable, 1),
  );
  const own = sum((hand) => hand.own ** 2, 2);
  near(estimate.variance.stable + estimate.variance.canary, own);
  near(estimate.se, Math.sqrt(own));
  // The guard takes the users of all strata together, which differs by the ones that each stratum's mean costs.
  near(estimate.guardSe, Math.sqrt(sum((hand) => hand.guard ** 2, 2)), 0.01);
});

test('a day counts from two users of each arm on', () => {
  const q = 'quality:judge';
  const first = crowd(q, { stable: around(100, 0.3, 0.1), canary: around(50, 0.35, 0.3) });
  const differenceWith = (canary: number[]) => {
    const days = [first, crowd(q, { stable: around(10, 0.8, 0.1), canary })];
    const estimate = estimateOf(quality, figures(oneDayEach(days), [quality], { weight: 1 / 3 }));
    assert.ok(typeof estimate === 'object');
    return { estimate: estimate.difference, second: compared(days[1] ?? [], q).d };
  };
  const { d } = compared(first, q);
  near(differenceWith([0.1]).estimate, d);
  const { estimate, second } = differenceWith([0.1, 0.2]);
  // 50 · 100 / 150 against 2 · 10 / 12.
  const [one, other] = [100 / 3, 5 / 3];
  near(estimate, (one * d + other * second) / (one + other));
});

test('p95 over two days: the percentile of the mix that both arms would have seen', () => {
  const of = (places: Users, arm: Arm) => peopleOf({ stable: [], canary: [], [arm]: places });
  const days = [
    { stable: slow(300, 4, true), canary: slow(30, 4, true) },
    { stable: slow(60, 12, true), canary: slow(60, 10, true) },
  ];
  const samples = oneDayEach(
    days.map(({ stable, canary }) => [...of(stable, 'stable'), ...of(canary, 'canary')]),
  );
  const estimate = estimateOf(latencyP95, figures(samples, [latencyP95], { weight: 0.2 }));
  assert.ok(typeof estimate === 'object');
  // Two requests a user: 600 · 60 / 660 against 120 · 120 / 240.
  const weights = [36_000 / 660, 60];
  for (const arm of ['stable', 'canary'] as const) {
    const mix = shares(
      days.flatMap((users, day) =>
        users[arm].flat().map((place) => ({ place, weight: (weights[day] ?? 0) / users[arm].flat().length })),
      ),
    );
    near(estimate.means[arm], percentile(mix, 0.95) * STEP);
  }
});
