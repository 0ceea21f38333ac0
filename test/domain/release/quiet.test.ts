import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { latestQuiet, type Span } from '../../../domain/release/quiet.ts';

const find = (canaries: Span[], { now = 100, since = 0, length = 20, whole = 10 } = {}) =>
  latestQuiet({ canaries, since, now, length, whole });

describe('the latest quiet span', () => {
  it('ends now if no canary ran', () => assert.deepEqual(find([]), { from: 80, to: 100 }));
  it('ends on a whole slice', () => assert.deepEqual(find([], { now: 107 }), { from: 80, to: 100 }));
  it('is a whole number of slices', () => assert.deepEqual(find([], { length: 15 }), { from: 80, to: 100 }));
  it('lies after the last canary if there is room', () =>
    assert.deepEqual(find([{ from: 50, to: 79 }]), { from: 80, to: 100 }));
  it('lies before it if not', () => assert.deepEqual(find([{ from: 55, to: 90 }]), { from: 30, to: 50 }));
  it('lies between two canaries', () =>
    assert.deepEqual(
      find([
        { from: 10, to: 40 },
        { from: 61, to: 95 },
      ]),
      { from: 40, to: 60 },
    ));
  it('steps over a canary within another one', () =>
    assert.deepEqual(
      find([
        { from: 30, to: 95 },
        { from: 60, to: 70 },
      ]),
      { from: 10, to: 30 },
    ));
  it('is none while a canary has always been running', () =>
    assert.equal(find([{ from: 5, to: 100 }]), null));
  it('is none if it would begin too long ago', () =>
    assert.equal(find([{ from: 50, to: 99 }], { since: 40 }), null));
});
