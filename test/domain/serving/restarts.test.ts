import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextRestart } from '../../../domain/serving/restarts.ts';

test('a crash loop is answered with growing pauses, at most 5 minutes', () => {
  // Seconds of each pause, found by asking every second when the next start comes.
  const pauses: number[] = [];
  let count = nextRestart({ count: 0, last: null }) ?? 0;
  for (let start = 0; start < 8; start++) {
    let seconds = 0;
    let next = nextRestart({ count, last: 0 });
    while (next === null) {
      seconds += 1;
      next = nextRestart({ count, last: seconds * 1_000 });
    }
    pauses.push(seconds);
    count = next;
  }
  assert.deepEqual(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
});

test('after ten minutes without a start afresh the next one is the first again', () => {
  assert.equal(nextRestart({ count: 9, last: 599_999 }), 10);
  assert.equal(nextRestart({ count: 9, last: 600_000 }), 1);
});
