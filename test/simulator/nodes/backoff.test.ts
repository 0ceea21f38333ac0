import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { doubled, goDuration, kubeletBackoff, nextWait } from '../../../simulator/nodes/backoff.ts';

describe('back-off', () => {
  it('starts again at once, then after 10, 20, 40, 80, 160 and never more than 300 s', () => {
    const waits: number[] = [];
    let wait: number | undefined;
    for (let run = 0; run < 8; run++) {
      wait = nextWait(wait, 1000, kubeletBackoff);
      waits.push(wait / 1000);
    }
    assert.deepEqual(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
  });

  it('begins anew after a run of ten minutes', () => {
    assert.equal(nextWait(300_000, 600_000, kubeletBackoff), 0);
    assert.equal(nextWait(300_000, 599_999, kubeletBackoff), 300_000);
  });

  it('of an image begins with the base', () => {
    assert.equal(doubled(0, kubeletBackoff), 10_000);
    assert.equal(doubled(10_000, kubeletBackoff), 20_000);
  });

  it('prints durations as Go does', () => {
    assert.deepEqual([0, 200, 10_000, 80_000, 300_000, 3_661_500].map(goDuration), [
      '0s',
      '200ms',
      '10s',
      '1m20s',
      '5m0s',
      '1h1m1.5s',
    ]);
  });
});
