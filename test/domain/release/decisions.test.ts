import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type DecisionContext, type DecisionName, refusalOf } from '../../../domain/release/decisions.ts';
import { type Stage, stages } from '../../../domain/words.ts';

const signing: DecisionContext = {
  stage: 'sign-off',
  paused: false,
  signed: false,
  stopping: false,
  requester: 'ana',
  candidate: 'sha256:candidate',
  evidence: 'sha256:evidence',
};
const sound = { by: 'ben', revision: 'sha256:candidate', evidence: 'sha256:evidence' };

const codeOf = (name: DecisionName, changes: Partial<DecisionContext> = {}, request: object = sound) =>
  refusalOf(name, request as typeof sound, { ...signing, ...changes })?.code ?? null;

describe('the rule of decisions', () => {
  it('takes each decision only in the stages that it is for', () => {
    const taken = (name: DecisionName, changes: Partial<DecisionContext> = {}): Stage[] =>
      stages.filter((stage) => codeOf(name, { ...changes, stage }) === null);
    const running = stages.filter((stage) => !['done', 'rolling-back', 'rolled-back'].includes(stage));
    assert.deepEqual(taken('approve'), ['sign-off']);
    assert.deepEqual(taken('reject'), ['sign-off']);
    assert.deepEqual(taken('pause'), running);
    assert.deepEqual(taken('resume', { paused: true }), running);
    assert.deepEqual(
      taken('abort'),
      stages.filter((stage) => stage !== 'done'),
    );
  });

  it('binds a sign-off to revision and evidence, and never takes it from the requester or twice (invariant 7)', () => {
    assert.equal(codeOf('approve'), null);
    assert.equal(codeOf('approve', {}, { ...sound, by: 'ana' }), 'SIGN_OFF_BY_REQUESTER');
    assert.equal(codeOf('approve', {}, { ...sound, revision: 'sha256:other' }), 'SIGN_OFF_STALE');
    assert.equal(codeOf('approve', {}, { ...sound, evidence: 'sha256:older' }), 'SIGN_OFF_STALE');
    assert.equal(codeOf('approve', {}, { by: 'ben' }), 'SIGN_OFF_STALE');
    assert.equal(codeOf('approve', { signed: true }), 'DECISION_REFUSED');
    const held = refusalOf('approve', sound, { ...signing, signed: true, paused: true });
    assert.equal(held?.remedy, 'Let it go on: slipway release resume');
    assert.equal(codeOf('approve', { stopping: true }), 'DECISION_REFUSED');
  });

  it('pauses what runs and resumes what is paused', () => {
    assert.equal(codeOf('pause', { paused: true }), 'DECISION_REFUSED');
    assert.equal(codeOf('resume'), 'DECISION_REFUSED');
  });

  it('aborts twice as once, and wants to know who decides', () => {
    assert.equal(codeOf('abort', { stopping: true }), null);
    for (const by of ['', '  ', 7, undefined]) assert.equal(codeOf('abort', {}, { by }), 'INPUT_INVALID');
  });

  it('takes words of a length that the story can carry, and repeats no others', () => {
    const saying = (by: number, reason: unknown) =>
      codeOf(
        'abort',
        {},
        { by: 'b'.repeat(by), reason: typeof reason === 'number' ? 'r'.repeat(reason) : reason },
      );
    assert.deepEqual([saying(200, 1_000), saying(200, null)], [null, null]);
    for (const [by, reason] of [
      [201, 0],
      [1, 1_001],
      [1, {}],
    ] as const) {
      assert.equal(saying(by, reason), 'INPUT_INVALID');
    }
    const endless = { ...sound, evidence: 'e'.repeat(100_000) };
    assert.ok((refusalOf('approve', endless, signing)?.message.length ?? 0) < 300);
  });
});
