import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type GuardReading, type GuardState, readGuard } from '../../../domain/guards.ts';
import { defaultPolicy } from '../../../domain/policy/policy.ts';
import {
  gateLookDue,
  heldBy,
  noMemory,
  type WatchedGate,
  type WatchedGuards,
  watchedGuards,
  watching,
} from '../../../domain/release/watching.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const SINCE = Date.UTC(2026, 0, 5);
const policy = {
  ...defaultPolicy,
  canary: { ...defaultPolicy.canary, guards: [{ metric: 'errors' as const, ratio: 1, plus: 0.05 }] },
};

const nothing = { requests: { missing: 'not asked' }, value: { missing: 'not asked' } };

function reading(state: GuardState, given: Partial<GuardReading> = {}): GuardReading {
  const measured = state === 'ok' || state === 'failed';
  return {
    metric: 'errors',
    state,
    canary: measured ? 0.02 : null,
    stable: measured ? 0.01 : null,
    limit: measured ? 0.06 : null,
    requests: measured ? { canary: 100, stable: 900 } : { canary: null, stable: null },
    message: `errors ${state}`,
    measured: { canary: nothing, stable: nothing },
    ...given,
  };
}

function look(readings: GuardReading[], at: number, { memory = noMemory, weight = 0.1 } = {}): WatchedGuards {
  return watchedGuards({
    readings,
    last: { at: SINCE, memory },
    weight,
    policy: policy.canary,
    now: SINCE + at,
  });
}

const decide = (guards: WatchedGuards, at: number, gate: WatchedGate | null = null) =>
  watching({ guards, gate, policy, since: SINCE, now: SINCE + at });

function gateLook(given: Partial<WatchedGate>): WatchedGate {
  return {
    time: SINCE,
    elapsed: 0,
    state: 'ok',
    harm: false,
    guards: [],
    firstErrors: null,
    sampleRatio: { stable: 900, canary: 101, lnBayesFactor: 0, pValue: 1, broken: false },
    reasons: [],
    arms: { stable: { users: 900, samples: 3600 }, canary: { users: 101, samples: 412 } },
    watermark: 7,
    planDigest: 'sha256:plan',
    figuresDigest: 'sha256:figures',
    ...given,
  };
}

describe('a look at the guards', () => {
  const cases: [
    what: string,
    state: GuardState,
    kind: 'breach' | 'not-yet',
    words: RegExp,
    retryIn: number | null,
  ][] = [
    [
      'goes on while they are ok',
      'ok',
      'not-yet',
      /^0 of 1000 samples.*; guards ok; next look in 5 min$/,
      5 * MINUTE,
    ],
    [
      'waits for enough requests',
      'waiting',
      'not-yet',
      /^0 of 1000 samples.*; errors waiting; next look/,
      5 * MINUTE,
    ],
    ['holds when one cannot be measured', 'error', 'not-yet', /^holding: errors error; /, 10_000],
    ['breaches on a bad value', 'failed', 'breach', /^errors failed$/, null],
  ];
  for (const [what, state, kind, words, retryIn] of cases) {
    it(what, () => {
      const seen = decide(look([reading(state)], HOUR), HOUR);
      assert.equal(seen.kind, kind);
      assert.match(seen.words, words);
      assert.equal(seen.kind === 'not-yet' ? seen.retryIn : null, retryIn);
    });
  }

  it('breaches on a bad value although another guard cannot be measured', () => {
    const both = [reading('error', { metric: 'cost' }), reading('failed')];
    assert.equal(decide(look(both, HOUR), HOUR).kind, 'breach');
  });

  it('misses nothing before the first requests', () => {
    const seen = decide(look([reading('error')], MINUTE), MINUTE);
    assert.match(seen.words, /^waiting for the first requests; /);
    const later = decide(look([reading('error')], 5 * MINUTE), 5 * MINUTE);
    assert.match(later.words, /^holding: /);
  });

  it('shows how many samples and users there are', () => {
    assert.match(
      decide(look([reading('ok')], HOUR), HOUR, gateLook({})).words,
      /^412 of 1000 samples, 101 of 250 users on canary; guards ok;/,
    );
  });

  it('shows no minimum that is reached', () => {
    const words = (samples: number, users: number) => {
      const gate = gateLook({});
      const arms = { ...gate.arms, canary: { samples, users } };
      return decide(look([reading('ok')], HOUR), HOUR, { ...gate, arms }).words;
    };
    assert.match(words(999, 250), /^999 of 1000 samples, 250 users on canary;/);
    assert.match(words(2008, 101), /^2008 samples, 101 of 250 users on canary;/);
    assert.match(words(1000, 900), /^1000 samples, 900 users on canary;/);
  });

  it('looks no later than the policy says, also when it holds', () => {
    const quick = { ...policy, gate: { ...policy.gate, lookEvery: 2_000 } };
    const guards = look([reading('error')], HOUR);
    const seen = watching({ guards, gate: null, policy: quick, since: SINCE, now: SINCE + HOUR });
    assert.equal(seen.kind === 'not-yet' ? seen.retryIn : null, 2_000);
  });
});

describe('the statistics', () => {
  it('stop a harmful canary with their own words', () => {
    const harm = gateLook({
      harm: true,
      state: 'Failed',
      reasons: [
        { code: 'harm', guard: 'quality:judge', words: 'wholly beyond the limit' },
        { code: 'too-few-users', guard: 'cost', words: 'not this' },
      ],
    });
    assert.deepEqual(decide(look([reading('ok')], HOUR), HOUR, harm), {
      kind: 'breach',
      words: 'quality:judge: wholly beyond the limit',
    });
  });

  it('never stop it because they cannot measure', () => {
    const blind = gateLook({ state: 'Error', reasons: [{ code: 'clock', words: 'a clock is ahead' }] });
    const seen = decide(look([reading('ok')], HOUR), HOUR, blind);
    assert.equal(seen.kind, 'not-yet');
    assert.match(seen.words, /^holding: a clock is ahead; 412 of 1000/);
  });

  it('are asked again when a look is due, not at every hold', () => {
    assert.equal(gateLookDue(null, SINCE, 5 * MINUTE), true);
    assert.equal(gateLookDue(SINCE, SINCE + 10_000, 5 * MINUTE), false);
    assert.equal(gateLookDue(SINCE, SINCE + 5 * MINUTE, 5 * MINUTE), true);
  });
});

describe('the maximum age', () => {
  const after = (states: [GuardState, number][]) => {
    let guards = look([reading('error')], 0);
    for (const [state, at] of states) guards = look([reading(state)], at, { memory: guards.memory });
    const at = states.at(-1)?.[1] ?? 0;
    return decide(guards, at).kind;
  };
  it('counts from the start if nothing was ever measured', () => {
    assert.equal(after([['error', DAY - 1]]), 'not-yet');
    assert.equal(after([['error', DAY]]), 'breach');
  });
  it('counts from the last measurement', () => {
    assert.equal(
      after([
        ['ok', HOUR],
        ['error', HOUR + DAY - 1],
      ]),
      'not-yet',
    );
    assert.equal(
      after([
        ['ok', HOUR],
        ['error', HOUR + DAY],
      ]),
      'breach',
    );
  });
  it('is not reached while there are only too few requests', () => {
    assert.equal(after([['waiting', 3 * DAY]]), 'not-yet');
  });
  it('is not reached by a policy without guards', () => {
    assert.equal(decide(look([], 3 * DAY), 3 * DAY).kind, 'not-yet');
  });
});

describe('with everybody on the canary', () => {
  const before = look([reading('ok', { stable: 0.01 })], HOUR).memory;
  const alone = (canary: number | null, requests: number | null = 100) =>
    reading('error', {
      canary,
      requests: { canary: requests, stable: 0 },
      message: 'errors: no traffic on stable',
    });

  it('the stable arm is what it was', () => {
    const good = look([alone(0.06)], 2 * HOUR, { memory: before, weight: 1 });
    assert.equal(good.state, 'ok');
    assert.match(good.message, /stable as measured at 2026-01-05T01:00:00.000Z/);
    assert.equal(look([alone(0.0601)], 2 * HOUR, { memory: before, weight: 1 }).state, 'failed');
  });

  it('it is remembered from look to look', () => {
    let memory = before;
    for (let hour = 2; hour < 30; hour += 1)
      memory = look([alone(0.01)], hour * HOUR, { memory, weight: 1 }).memory;
    assert.deepEqual(memory.stable, before.stable);
    assert.equal(memory.measuredAt, SINCE + 29 * HOUR);
  });

  it('a figure that is still measured beside the canary counts', () => {
    const both = look([reading('ok', { stable: 0.5 })], 2 * HOUR, { memory: before, weight: 1 });
    assert.equal(both.message, 'errors ok');
  });

  it('a canary that cannot be measured holds', () => {
    assert.equal(look([alone(null, null)], 2 * HOUR, { memory: before, weight: 1 }).state, 'error');
    assert.equal(look([alone(0.01, 0)], 2 * HOUR, { memory: before, weight: 1 }).state, 'error');
  });

  it('a stable arm that never had enough requests is not missed, so that a quiet application can be promoted', () => {
    const never = look([alone(0.5)], 2 * HOUR, { weight: 1 });
    assert.equal(never.state, 'waiting');
    assert.equal(heldBy(never), null);
    assert.equal(look([alone(null, null)], 2 * HOUR, { weight: 1 }).state, 'error');
    assert.equal(look([alone(0.5, 0)], 2 * HOUR, { weight: 1 }).state, 'error');
  });

  it('a canary that streams nothing has no time to first token to miss', () => {
    const none = { requests: { value: 0 }, value: { missing: 'no data' }, population: { value: 100 } };
    const gone = { requests: { value: 0 }, value: { missing: 'no data' }, population: { value: 0 } };
    const guard = { metric: 'ttft-p95' as const, ratio: 2, plus: 0.25 };
    const canary = { ...policy.canary, guards: [guard] };
    const at = (arm: typeof none, weight: number) =>
      watchedGuards({
        readings: [readGuard(guard, { canary: arm, stable: gone }, 50)],
        last: null,
        weight,
        policy: canary,
        now: SINCE,
      }).state;
    assert.equal(at(none, 1), 'waiting');
    assert.equal(at(none, 0.5), 'error');
    assert.equal(at(gone, 1), 'error');
  });

  it('nothing stands in while stable should have traffic', () => {
    assert.equal(look([alone(0.5)], 2 * HOUR, { memory: before, weight: 0.5 }).state, 'error');
  });
});

describe('the gate', () => {
  it('may be asked when all guards could look', () => {
    assert.equal(heldBy(look([reading('ok')], HOUR)), null);
    assert.equal(heldBy(look([reading('waiting')], HOUR)), null);
  });
  it('waits while one cannot, or while the watch is about to stop the canary', () => {
    assert.equal(heldBy(look([reading('ok'), reading('error', { metric: 'cost' })], HOUR)), 'errors error');
    assert.equal(heldBy(look([reading('failed')], HOUR)), 'errors failed');
  });
});
