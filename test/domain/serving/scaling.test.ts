import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { defaultScaling } from '../../../domain/policy/policy.ts';
import {
  type Carried,
  floorOf,
  floorProblem,
  isLow,
  maximumOf,
  replicasFor,
  type Standing,
  scalingProblem,
  shareOf,
  smoothedLoad,
  utilisationOf,
} from '../../../domain/serving/scaling.ts';
import type { ScalingPolicy } from '../../../domain/serving/serving.ts';
import { exampleRuntime } from '../../support/servings.ts';

const carried = (over: Partial<Carried> = {}): Carried => ({
  application: 'a',
  stable: false,
  observed: 0,
  desired: 0,
  ...over,
});
const scaling = (over: Partial<ScalingPolicy> = {}): ScalingPolicy => ({ ...defaultScaling, ...over });
const runtime = (replicas: number, gpus = 1) => ({
  ...exampleRuntime(replicas),
  gpu: { kind: 'A100-80GB', memoryGiB: 80, count: gpus },
});

test('the floor is the replicas for a share of the users', () => {
  const cases: [Partial<Carried>[], number, Partial<ScalingPolicy>, number][] = [
    // Replicas that carry everybody, a canary's weight, the policy, the floor.
    [[{ observed: 0.1 }], 2, {}, 1],
    [[{ observed: 0.5 }], 2, {}, 1],
    [[{ observed: 0.51 }], 2, {}, 2],
    [[{ observed: 1 }], 2, {}, 2],
    [[{ observed: 0.1 }], 10, {}, 1],
    [[{ observed: 0.25 }], 10, {}, 3],
    // 0.55 × 100 is 55.00000000000001 in binary fractions.
    [[{ observed: 0.55 }], 100, {}, 55],
    // The larger of what is asked and what is there.
    [[{ observed: 0.1, desired: 0.5 }], 10, {}, 5],
    [[{ observed: 0.5, desired: 0.1 }], 10, {}, 5],
    // A stable arm counts whole, also when most users are on the canary, also when both are here.
    [[{ stable: true }], 4, {}, 4],
    [[{ stable: true, observed: 0.5, desired: 1 }], 4, {}, 4],
    // Applications that share a serving add up before they are rounded.
    [[{ stable: true }, { observed: 0.1 }], 4, {}, 5],
    [[{ observed: 0.1 }, { observed: 0.1 }], 4, {}, 1],
    // At least one, and at least the policy's minimum.
    [[], 4, {}, 1],
    [[{ observed: 0.1 }], 4, { minReplicas: 3 }, 3],
  ];
  for (const [uses, replicas, policy, expected] of cases) {
    const floor = floorOf(
      runtime(replicas),
      scaling(policy),
      uses.map((use) => carried(use)),
    );
    assert.equal(floor, expected, JSON.stringify([uses, replicas, policy]));
  }
});

test('no replica has more users than it has when the revision serves everybody', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.double({ min: 0.001, max: 1, noNaN: true }),
      (whole, weight) => {
        const floor = floorOf(runtime(whole), scaling(), [carried({ observed: weight })]);
        assert.ok(weight / floor <= 1 / whole + 1e-9);
        // And no replica is there for nothing.
        assert.ok(floor === 1 || weight / (floor - 1) > 1 / whole);
      },
    ),
  );
});

test('a weight that rises never lowers the floor, and a share lies between 0 and 1', () => {
  const weight = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(fc.boolean(), weight, weight, weight, (stable, observed, desired, more) => {
      const before = carried({ stable, observed, desired });
      const after = carried({ stable, observed, desired: Math.max(desired, more) });
      assert.ok(shareOf(before) <= shareOf(after) && shareOf(after) <= 1);
      assert.ok(floorOf(runtime(7), scaling(), [before]) <= floorOf(runtime(7), scaling(), [after]));
    }),
  );
});

test('the maximum is the policy’s, or what its money buys', () => {
  assert.equal(maximumOf(runtime(1), scaling()), 10);
  assert.equal(maximumOf(runtime(1), scaling({ maxCostPerHour: 5 })), 10);
  assert.equal(maximumOf(runtime(1, 4), scaling({ maxCostPerHour: 50, gpuHourPrice: 2.5 })), 5);
  assert.equal(maximumOf(runtime(1, 4), scaling({ maxCostPerHour: 49.9, gpuHourPrice: 2.5 })), 4);
  assert.equal(maximumOf(runtime(1, 4), scaling({ maxCostPerHour: 9, gpuHourPrice: 2.5 })), 0);
  // 0.3 / 0.1 is 2.9999999999999996 in binary fractions.
  assert.equal(maximumOf(runtime(1), scaling({ maxCostPerHour: 0.3, gpuHourPrice: 0.1 })), 3);
});

test('a floor above the maximum is refused, with the figures', () => {
  const everybody = [carried({ stable: true })];
  const priced = { maxCostPerHour: 20, gpuHourPrice: 2.5 };
  assert.equal(floorProblem(runtime(2, 4), scaling(priced), everybody), null);
  assert.deepEqual(floorProblem(runtime(3, 4), scaling(priced), everybody), {
    field: 'maxCostPerHour',
    value: 20,
    message: 'allows $20 an hour, and the 3 replicas that all users need cost $30',
    remedy: 'Give maxCostPerHour at least 30, or lower runtime.replicas or gpu.count',
  });
  assert.deepEqual(floorProblem(runtime(11), scaling(), everybody), {
    field: 'maxReplicas',
    value: 10,
    message: 'allows 10 replicas, and all users need 11',
    remedy: 'Give maxReplicas at least 11, or lower runtime.replicas',
  });
});

test('a policy that contradicts itself is found', () => {
  assert.equal(scalingProblem(scaling()), null);
  assert.equal(scalingProblem(scaling({ minReplicas: 11 }))?.field, 'minReplicas');
  assert.equal(scalingProblem(scaling({ shrinkBelow: 0.8 }))?.field, 'shrinkBelow');
  assert.equal(scalingProblem(scaling({ maxCostPerHour: 5 }))?.field, 'maxCostPerHour');
  assert.equal(scalingProblem(scaling({ maxCostPerHour: 5, gpuHourPrice: 1 })), null);
});

test('utilisation is the fullest of cache, batch and queue', () => {
  const flags = (over: Record<string, number>) => exampleRuntime(1, over);
  const load = (running: number, waiting: number, cacheUsage: number) => ({ running, waiting, cacheUsage });
  const two = { 'max-num-seqs': 10, 'data-parallel-size': 2 };
  const cases: [ReturnType<typeof load>, Record<string, number>, number][] = [
    [load(0, 0, 0), {}, 0],
    [load(5, 0, 0.4), {}, 0.4],
    [load(5, 0, 0.4), { 'max-num-seqs': 10 }, 0.5],
    [load(5, 0, 0.4), two, 0.4],
    [load(8, 0, 0.1), two, 0.4],
    // One that waits has just come; with two engines, two.
    [load(8, 1, 0.1), {}, 0.1],
    [load(8, 2, 0.1), two, 0.4],
    // A busy one that keeps up: 200 run, 3 wait for the step under way.
    [load(200, 3, 0.5), {}, 0.5],
    // Waiting for 4 % of the time that they run, for a tenth, for half of it.
    [load(100, 5, 0.1), {}, 0.4],
    [load(100, 11, 0.1), {}, 1],
    [load(100, 51, 0.1), {}, 1.4],
    [load(0, 2, 0), {}, 1.9],
    [load(8, 900, 0.5), {}, 2],
  ];
  for (const [figures, given, expected] of cases) {
    const found = utilisationOf(figures, flags(given)) ?? -1;
    assert.ok(Math.abs(found - expected) < 1e-9, `${JSON.stringify([figures, given])}: ${found}`);
  }
  for (const missing of ['running', 'waiting', 'cacheUsage']) {
    assert.equal(utilisationOf({ ...load(1, 1, 1), [missing]: null }, exampleRuntime()), null, missing);
  }
  assert.equal(utilisationOf(null, exampleRuntime()), null);
});

test('a longer queue never looks less busy, and a queue that grows means full', () => {
  const count = fc.integer({ min: 0, max: 5_000 });
  const share = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(count, count, count, share, (running, waiting, more, cacheUsage) => {
      const of = (queue: number) =>
        utilisationOf({ running, waiting: queue, cacheUsage }, exampleRuntime()) ?? Number.NaN;
      assert.ok(of(waiting + more) >= of(waiting));
      assert.ok(of(waiting) >= 0 && of(waiting) <= 2);
      assert.ok(of(Math.ceil(running * 0.1) + 2) >= 1);
    }),
  );
});

/** The load after looks every so many ms, each of which finds the same. */
function after(looks: number, everyMs: number, utilisations: (number | null)[], load = 0): number {
  for (let look = 0; look < looks; look++) load = smoothedLoad(utilisations, { load, ago: everyMs });
  return load;
}

test('no single look decides; what lasts half a minute does, however often one looks', () => {
  assert.equal(smoothedLoad([2], null), 0);
  assert.equal(smoothedLoad([2], { load: 3, ago: 60_001 }), 0);
  assert.ok(after(1, 1_000, [2]) < 0.1);
  assert.ok(after(30, 1_000, [1]) > 0.6 && after(30, 1_000, [1]) < 0.65);
  assert.ok(Math.abs(after(30, 1_000, [1]) - after(3, 10_000, [1])) < 1e-9);
  assert.ok(Math.abs(after(600, 1_000, [0.5, null, 0.25]) - 0.75) < 1e-6);
  // An idle serving that sees a queue in every tenth look stays idle.
  let load = 0;
  for (let look = 0; look < 300; look++) {
    load = smoothedLoad([look % 10 === 0 ? 1 : 0.05], { load, ago: 1_000 });
    assert.ok(load < 0.3);
  }
});

test('what says nothing is not idle', () => {
  assert.ok(isLow(0.5, [0.25, 0.25], scaling()));
  assert.ok(!isLow(0.6, [0.3, 0.3], scaling()));
  assert.ok(!isLow(0, [0, null], scaling()));
  assert.ok(!isLow(0, [], scaling()));
});

test('demand decides between floor and maximum', () => {
  const minutes = 60_000;
  const cases: [string, Partial<Standing>, Partial<ScalingPolicy>, number][] = [
    ['at the target', { replicas: 2, load: 1.6 }, {}, 2],
    ['over it: at once', { replicas: 2, load: 1.62 }, {}, 3],
    ['a queue', { replicas: 2, load: 4 }, {}, 5],
    ['a queue, and three load already', { replicas: 5, load: 4 }, {}, 5],
    ['a queue, beyond the maximum', { replicas: 2, load: 4, maximum: 4 }, {}, 4],
    ['a floor above the maximum', { replicas: 2, floor: 6, maximum: 4, load: 0.2 }, {}, 6],
    ['more than the maximum allows', { replicas: 8, maximum: 4, load: 0.5 }, {}, 4],
    ['low, not for long enough', { replicas: 3, lowFor: 10 * minutes - 1 }, {}, 3],
    ['low for long: one step', { replicas: 3, lowFor: 10 * minutes }, {}, 2],
    ['low at the floor', { replicas: 2, floor: 2, lowFor: 60 * minutes }, {}, 2],
    ['not low', { replicas: 3, load: 0.9, lowFor: 0 }, {}, 3],
    ['below the floor', { replicas: 1, floor: 2 }, {}, 2],
    [
      'the rest would be over the target',
      { replicas: 2, load: 1.1, lowFor: 60 * minutes },
      { shrinkBelow: 0.6 },
      2,
    ],
    ['an autoscaler has its own figures', { replicas: 1, floor: 2, load: 4 }, { by: 'autoscaler' }, 2],
    ['and follows the floor down', { replicas: 4, floor: 2 }, { by: 'autoscaler' }, 2],
  ];
  const standing = { replicas: 1, floor: 1, maximum: 10, load: 0, lowFor: 0 };
  for (const [what, over, policy, expected] of cases) {
    assert.equal(replicasFor({ ...standing, ...over }, scaling(policy)), expected, what);
  }
});

const policies = fc
  .record({
    target: fc.double({ min: 0.1, max: 1, noNaN: true }),
    below: fc.double({ min: 0, max: 0.99, noNaN: true }),
  })
  .map(({ target, below }) => scaling({ target, shrinkBelow: target * below }));
const standings = fc.record({
  replicas: fc.integer({ min: 1, max: 12 }),
  floor: fc.integer({ min: 1, max: 12 }),
  maximum: fc.integer({ min: 0, max: 12 }),
  load: fc.double({ min: 0, max: 24, noNaN: true }),
  lowFor: fc.integer({ min: 0, max: 2 * defaultScaling.shrinkAfter }),
});

test('never below the floor, never above the maximum but for the floor, never more than one step down within them', () => {
  fc.assert(
    fc.property(standings, policies, (standing, policy) => {
      const { replicas, floor, maximum } = standing;
      const next = replicasFor(standing, policy);
      assert.ok(next >= floor);
      assert.ok(next <= Math.max(floor, maximum));
      if (replicas > Math.max(floor, maximum) || next >= replicas) return;
      assert.equal(next, replicas - 1);
      assert.ok(standing.lowFor >= policy.shrinkAfter);
    }),
  );
});

test('more load never means fewer replicas', () => {
  fc.assert(
    fc.property(standings, policies, fc.double({ min: 0, max: 9, noNaN: true }), (standing, policy, more) => {
      const busier = { ...standing, load: standing.load + more };
      assert.ok(replicasFor(busier, policy) >= replicasFor(standing, policy));
    }),
  );
});

test('a load that stays settles: replicas do not come and go, and none has more than the target', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.double({ min: 0, max: 18, noNaN: true }),
      policies,
      (replicas, load, policy) => {
        const standing = { floor: 1, maximum: 1_000, load, lowFor: policy.shrinkAfter };
        let now = replicas;
        for (let look = 0; look < 30; look++) now = replicasFor({ ...standing, replicas: now }, policy);
        assert.equal(replicasFor({ ...standing, replicas: now }, policy), now);
        assert.ok(load / now <= policy.target + 1e-6);
      },
    ),
  );
});
