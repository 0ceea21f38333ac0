import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checklistOf } from '../../domain/preflight.ts';

test('every failed item is told with its remedy, not only the first', () => {
  const checklist = checklistOf([
    { item: 'prompt', passed: true, message: 'answers@1' },
    { item: 'golden set', passed: false, message: 'there is none', remedy: 'Push it' },
    { item: 'KV cache', passed: false, message: 'too small' },
  ]);
  assert.equal(checklist.passed, false);
  assert.equal(
    checklist.summary,
    '2 of 3 checks failed\ngolden set: there is none. Push it\nKV cache: too small',
  );
});

test('when all passed, what was found is told, warnings too', () => {
  const checklist = checklistOf([
    { item: 'guardrails', passed: true, message: 'g@1; warning: g@2 is newer' },
  ]);
  assert.equal(checklist.passed, true);
  assert.equal(checklist.summary, 'all 1 checks passed\nguardrails: g@1; warning: g@2 is newer');
});
