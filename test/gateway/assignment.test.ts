import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ArmTarget, Route } from '../../domain/routing.ts';
import { type Arrival, assign, userKeyOf } from '../../gateway/assignment.ts';
import { newRequestId } from '../../gateway/request-id.ts';

const target = (revision: string): ArmTarget => ({
  revision,
  prompt: {
    system: '',
    template: '{{input}}',
    variables: [],
    examples: [],
    parameters: {},
    outputSchema: null,
  },
  promptRef: 'p@1',
  model: {
    name: 'm',
    architecture: { layers: 1, kvHeads: 1, headDim: 1, kvBytes: 2, weightsGiB: 1 },
    price: { inputPerMillion: 1, outputPerMillion: 1 },
  },
  servedModel: 'm',
  serving: 'sha256:s',
  endpoints: [],
});

const since = Date.UTC(2026, 0, 5);
const route: Route = {
  application: 'support',
  release: 'r1',
  weight: 0.1,
  stable: target('stable'),
  canary: target('canary'),
  phase: 0,
  scoredShare: 0.5,
  stratumMs: 1000,
  canarySince: since,
};
const arrival: Arrival = { requestId: 'a', userKey: 'u', at: since + 2500, stableOnly: false };
const users = Array.from({ length: 10_000 }, (_, i) => userKeyOf('secret', 'shop', `user-${i}`));
const canaryUsers = (weight: number, release = 'r1'): Set<string> =>
  new Set(
    users.filter(
      (userKey) => assign({ ...route, release, weight }, { ...arrival, userKey }).arm === 'canary',
    ),
  );

describe('assign', () => {
  it('keeps everybody in the canary while its weight rises (invariant 3)', () => {
    const [ten, twentyFive, fifty] = [canaryUsers(0.1), canaryUsers(0.25), canaryUsers(0.5)];
    assert.ok([...ten].every((user) => twentyFive.has(user)));
    assert.ok([...twentyFive].every((user) => fifty.has(user)));
    // Within five standard deviations of a binomial.
    for (const [weight, found] of [
      [0.1, ten.size],
      [0.25, twentyFive.size],
      [0.5, fifty.size],
    ] as const) {
      assert.ok(
        Math.abs(found - 10_000 * weight) < 5 * Math.sqrt(10_000 * weight * (1 - weight)),
        `${found}`,
      );
    }
    assert.equal(canaryUsers(0).size, 0);
    assert.equal(canaryUsers(1).size, 10_000);
  });

  it('draws anew for each release', () => {
    const [one, other] = [canaryUsers(0.5), canaryUsers(0.5, 'r2')];
    const both = [...one].filter((user) => other.has(user)).length;
    assert.ok(Math.abs(both - 2500) < 300, `${both} users in both canaries`);
  });

  it('serves a user without a name on the stable arm and out of the gate (invariant 12)', () => {
    const assignment = assign({ ...route, weight: 1 }, { ...arrival, userKey: null });
    assert.equal(assignment.arm, null);
    assert.equal(assignment.target.revision, 'stable');
  });

  it('keeps the assigned arm when only the stable one may serve (invariants 2 and 12)', () => {
    const assignment = assign({ ...route, weight: 1 }, { ...arrival, stableOnly: true });
    assert.equal(assignment.arm, 'canary');
    assert.equal(assignment.target.revision, 'stable');
  });

  it('counts strata from the start of the canary, apart by phase, and days outside a release', () => {
    assert.equal(assign(route, arrival).stratum, 2 * 64);
    assert.equal(assign({ ...route, phase: 3 }, arrival).stratum, 2 * 64 + 3);
    assert.equal(assign({ ...route, phase: 99 }, arrival).stratum, 2 * 64 + 63);
    assert.equal(assign(route, { ...arrival, at: since - 50 }).stratum, 0);
    // A clock that is an hour behind is no small difference: its samples are outside of the canary.
    assert.equal(assign(route, { ...arrival, at: since - 3_600_000 }).stratum, -3600 * 64);
    const outside = assign({ ...route, release: null, canary: null, canarySince: null }, arrival);
    assert.equal(outside.stratum, Math.floor(since / 86_400_000) * 64);
    assert.equal(outside.release, null);
    assert.equal(outside.arm, 'stable');
  });

  it('chooses whom the evaluator scores whatever the arm', () => {
    const ids = Array.from({ length: 4000 }, () => newRequestId(since));
    const scored = (arm: 'stable' | 'canary') =>
      ids.filter((requestId) => {
        const weight = arm === 'canary' ? 1 : 0;
        return assign({ ...route, weight }, { ...arrival, requestId }).scored;
      });
    assert.deepEqual(scored('canary'), scored('stable'));
    assert.ok(Math.abs(scored('stable').length - 2000) < 200);
    assert.equal(assign({ ...route, scoredShare: 0 }, arrival).scored, false);
  });
});

describe('userKeyOf', () => {
  it('tells tenants and users apart, and nothing without the key', () => {
    assert.notEqual(userKeyOf('s', 'shop', 'ann'), userKeyOf('s', 'rival', 'ann'));
    assert.notEqual(userKeyOf('s', 'shop', 'ann'), userKeyOf('t', 'shop', 'ann'));
    assert.notEqual(userKeyOf('s', 'ab', 'c'), userKeyOf('s', 'a', 'bc'));
    assert.match(userKeyOf('s', 'shop', 'ann'), /^[0-9a-f]{64}$/);
  });
});

describe('newRequestId', () => {
  it('is a UUID of version 7 that carries its time', () => {
    const ids = Array.from({ length: 1000 }, () => newRequestId(since));
    assert.equal(new Set(ids).size, 1000);
    for (const id of ids) {
      assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      assert.equal(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16), since);
    }
  });
});
