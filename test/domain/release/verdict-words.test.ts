import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planWords } from '../../../domain/release/verdict-words.ts';
import { error, planOf, quality } from '../gate/fixtures.ts';

test('the line of a plan says when it decides, what harm it sees, and what gain it wants', () => {
  const guarded = planWords(planOf([quality, error]));
  assert.match(guarded, /Smallest harm seen by then: quality:judge 0\.\d+, error 0\.\d+\.$/);
  assert.doesNotMatch(guarded, /must also be better/);
  assert.match(
    planWords(planOf([{ ...quality, role: 'success' }, error])),
    /is found to be no worse with .* must also be better: a canary that improves quality:judge by 0\.\d+ is found so with 90 % by then\. Smallest harm/,
  );
});
