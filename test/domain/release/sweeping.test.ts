import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { endOf, type SweptRelease, sweepPlan, type WorkflowState } from '../../../domain/release/sweeping.ts';
import { stages } from '../../../domain/words.ts';

const NOW = 1_000_000;
const signs = { lastSign: NOW - 10_000, lookEvery: 1_000 };

describe('which workflows count as ended unfinished', () => {
  const cases: [what: string, state: WorkflowState, grace: number, expected: string | null][] = [
    ['one that runs', { kind: 'running' }, 0, null],
    [
      'one that completed within the grace',
      { kind: 'unfinished', how: 'completed', at: NOW - 99 },
      100,
      null,
    ],
    [
      'one that completed, and left it',
      { kind: 'unfinished', how: 'completed', at: NOW - 100 },
      100,
      'completed',
    ],
    ['one that ended within the grace', { kind: 'unfinished', how: 'terminated', at: NOW - 99 }, 100, null],
    ['one that ended before it', { kind: 'unfinished', how: 'terminated', at: NOW - 100 }, 100, 'terminated'],
    ['one that timed out', { kind: 'unfinished', how: 'timed out', at: NOW - 100 }, 100, 'timed out'],
    ['one that failed', { kind: 'unfinished', how: 'failed', at: NOW - 100 }, 100, 'failed'],
    ['an unknown one, silent as long as a living one may be', { kind: 'unknown' }, 8_001, null],
    ['an unknown one, silent for longer', { kind: 'unknown' }, 8_000, 'unknown'],
  ];
  for (const [what, state, grace, expected] of cases) {
    it(`${what}: ${expected ?? 'left alone'}`, () => {
      assert.equal(endOf(state, signs, NOW, grace), expected);
    });
  }
});

describe('what a sweep does', () => {
  const release: SweptRelease = {
    id: 'shop-2',
    stage: 'canary',
    reason: null,
    candidate: 'sha256:b',
    stable: 'sha256:a',
  };
  const own = { candidate: 'serving-b', stable: 'serving-a' };
  const shared = { candidate: 'serving-a', stable: 'serving-a' };

  it('rolls back in every stage while the old revision is the stable one', () => {
    for (const stage of stages) {
      const plan = sweepPlan({ ...release, stage }, 'terminated', { stable: 'sha256:a' }, own);
      assert.deepEqual(
        [plan.outcome, plan.to, plan.remove],
        ['rolled-back', 'withdrawn', 'serving-b'],
        stage,
      );
      assert.match(plan.reason, /its workflow was terminated in Temporal/);
      if (!stage.startsWith('roll')) assert.match(plan.reason, new RegExp(` in ${stage}$`));
    }
  });

  it('completes a promotion once the candidate is the stable revision, whatever stage was told last', () => {
    for (const stage of stages) {
      const plan = sweepPlan({ ...release, stage }, 'timed out', { stable: 'sha256:b' }, own);
      assert.deepEqual([plan.outcome, plan.to, plan.remove], ['promoted', 'promoted', 'serving-a'], stage);
      assert.match(plan.reason, /timed out when the candidate was the stable revision already/);
    }
  });

  it('keeps the reason of a roll-back that was under way', () => {
    const stopped = { ...release, stage: 'rolling-back' as const, reason: 'aborted by ana: harm' };
    const { reason } = sweepPlan(stopped, 'terminated', { stable: 'sha256:a' }, own);
    assert.equal(
      reason,
      'aborted by ana: harm; its workflow was terminated in Temporal while it rolled back',
    );
  });

  it('removes no serving that both revisions share', () => {
    for (const stable of ['sha256:a', 'sha256:b']) {
      assert.equal(sweepPlan(release, 'failed', { stable }, shared).remove, null);
    }
  });

  it('removes the serving of a first release that nobody had promoted, and nothing of one that was', () => {
    const first = { ...release, stable: null };
    const servings = { candidate: 'serving-b', stable: null };
    assert.deepEqual(
      [null, { stable: 'sha256:b' }].map((route) => {
        const { outcome, remove } = sweepPlan(first, 'unknown', route, servings);
        return [outcome, remove];
      }),
      [
        ['rolled-back', 'serving-b'],
        ['promoted', null],
      ],
    );
  });
});
