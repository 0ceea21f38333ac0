import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { stepMilliseconds } from '../../../simulator/engine/timing.ts';

const plan = { weightBytes: 16e9, kvBytesPerToken: 131_072 };
const idle = { prefillTokens: 0, decodingSequences: 1, contextTokens: 0 };

describe('time of a step', () => {
  it('is at least the time to read the weights', () => {
    assert.ok(stepMilliseconds(idle, plan, 8e9) > 8);
    assert.ok(stepMilliseconds(idle, { ...plan, weightBytes: 4e9 }, 2e9) < 4);
  });

  it('grows with prompt tokens, with the context that is read, and with the sequences, each alone', () => {
    const base = stepMilliseconds(idle, plan, 8e9);
    assert.ok(stepMilliseconds({ ...idle, prefillTokens: 1000 }, plan, 8e9) > base + 50);
    assert.ok(stepMilliseconds({ ...idle, contextTokens: 100_000 }, plan, 8e9) > base + 5);
    const many = { ...idle, decodingSequences: 64 };
    assert.ok(stepMilliseconds(many, plan, 8e9) > base + 1);
  });
});
