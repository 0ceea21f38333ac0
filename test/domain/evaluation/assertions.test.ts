import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Assertion,
  type AssertionType,
  assertionTypes,
  assertOutput,
  assertScore,
  judgeCase,
} from '../../../domain/evaluation/assertions.ts';

const schema = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] };

const examples: [type: AssertionType, value: Assertion['value'], holds: string[], fails: string[]][] = [
  ['equals', 'Yes.', ['Yes.'], ['yes.', 'Yes. ', 'Yes', '']],
  ['contains', 'a.c', ['xa.cx'], ['abc', 'A.C']],
  ['icontains', 'ÄB', ['xäbx', 'ÄB'], ['ab']],
  ['regex', '^\\d+ days?$', ['30 days', '1 day'], ['30 Days', 'about 30 days']],
  ['is-json', undefined, ['{}', '[1]', '3', ' {"a": 1}\n'], ['', '{', 'so: {}', '{}{}']],
  ['is-json', schema, ['{"n": 1}'], ['{}', '{"n": "1"}', '[]']],
  [
    'contains-json',
    undefined,
    ['so: {"a": "}"} done', '```json\n[1]\n```', '{x} {"a": "\\"}"}'],
    ['', 'a {b} [c', '3', '}{'],
  ],
  ['contains-json', schema, ['{"m": 1} or {"n": 2}', 'x {"n":1}'], ['{"m": 1}', 'n: 1']],
];
for (const [type, value, holds, fails] of examples) {
  for (const output of [...holds, ...fails]) {
    const passed = holds.includes(output);
    test(`${type} ${JSON.stringify(value)} ${passed ? 'holds' : 'does not hold'} of ${JSON.stringify(output)}`, () => {
      const result = assertOutput({ type, value, weight: 1 }, output);
      assert.deepEqual(
        [result.passed, result.score, result.reason === null],
        [passed, passed ? 1 : 0, passed],
      );
    });
  }
}

test('not- holds exactly where the assertion itself does not', () => {
  const negatable = assertionTypes.filter((type) => type.startsWith('not-'));
  fc.assert(
    fc.property(
      fc.constantFrom(...negatable),
      fc.string(),
      fc.string({ minLength: 1 }),
      (type, output, text) => {
        const value = type.endsWith('json') ? undefined : text.replaceAll(/\W/g, 'a');
        const plain = type.slice(4) as AssertionType;
        assert.notEqual(
          assertOutput({ type, value, weight: 1 }, output).passed,
          assertOutput({ type: plain, value, weight: 1 }, output).passed,
        );
      },
    ),
  );
});

test('finding JSON in a hostile text ends', () => {
  const output = '[{'.repeat(500) + '"'.repeat(500);
  assert.equal(assertOutput({ type: 'contains-json', weight: 1 }, output).passed, false);
});

test("a rubric holds from its threshold on, and says the judge's reason otherwise", () => {
  const rubric: Assertion = { type: 'llm-rubric', value: 'x', weight: 1 };
  assert.deepEqual(assertScore(rubric, 0.5, 'fine'), { passed: true, score: 0.5, reason: null });
  assert.deepEqual(assertScore({ ...rubric, threshold: 0.7 }, 0.6, 'rude'), {
    passed: false,
    score: 0.6,
    reason: 'llm-rubric: scored 0.6, needs 0.7: rude',
  });
});

const weighted = (weights: number[]) =>
  weights.map((weight): Assertion => ({ type: 'contains', value: 'x', weight }));
const scored = (passed: boolean[]) =>
  passed.map((yes, i) => ({ passed: yes, score: yes ? 1 : 0, reason: yes ? null : `no ${i}` }));

test('a case passes if all assertions hold, those of weight 0 aside', () => {
  assert.equal(judgeCase(weighted([1, 1]), scored([true, true]), null).passed, true);
  assert.equal(judgeCase(weighted([9, 1]), scored([true, false]), null).passed, false);
  const verdict = judgeCase(weighted([1, 0]), scored([true, false]), null);
  assert.deepEqual(verdict, { passed: true, score: 1, reasons: ['no 1'] });
});

test('with a threshold the weighted score decides', () => {
  assert.equal(judgeCase(weighted([3, 1]), scored([true, false]), 0.75).passed, true);
  assert.equal(judgeCase(weighted([3, 1]), scored([true, false]), 0.76).passed, false);
  assert.equal(judgeCase(weighted([3, 1]), scored([false, true]), 0.75).passed, false);
});
