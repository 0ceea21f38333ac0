import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SlipwayError } from '../../../domain/errors.ts';
import { goldenSetDigest, parseGoldenSet, parseGoldenSetContent } from '../../../domain/evaluation/golden.ts';

const file = `
name: support
description: what support must know
tests:
  - description: opening hours
    vars: { input: "When are you open?", product: boots }
    assert:
      - { type: icontains, value: "9 am" }
      - { type: llm-rubric, value: It is polite., threshold: 0.7, weight: 2 }
  - vars: { input: "As JSON" }
    threshold: 0.5
    assert: [{ type: is-json, value: { type: object } }, { type: contains-json }]
`;

test("a golden set is read from promptfoo's test format", () => {
  assert.deepEqual(parseGoldenSet(file), {
    name: 'support',
    content: {
      cases: [
        {
          description: 'opening hours',
          vars: { input: 'When are you open?', product: 'boots' },
          threshold: null,
          assert: [
            { type: 'icontains', value: '9 am', weight: 1 },
            { type: 'llm-rubric', value: 'It is polite.', threshold: 0.7, weight: 2 },
          ],
        },
        {
          description: null,
          vars: { input: 'As JSON' },
          threshold: 0.5,
          assert: [
            { type: 'is-json', value: { type: 'object' }, weight: 1 },
            { type: 'contains-json', value: undefined, weight: 1 },
          ],
        },
      ],
    },
  });
});

test('a bare list of tests is one too, and what was read can be read again', () => {
  const { name, content } = parseGoldenSet(
    '[{"vars": {"input": "a"}, "assert": [{"type": "equals", "value": ""}]}]',
  );
  assert.equal(name, null);
  const again = parseGoldenSetContent(JSON.parse(JSON.stringify(content)));
  assert.equal(goldenSetDigest(again), goldenSetDigest(content));
});

test('the digest covers every part of a case', () => {
  const digests = [
    '{vars: {input: a}, assert: [{type: equals, value: b}]}',
    '{vars: {input: b}, assert: [{type: equals, value: b}]}',
    '{vars: {input: a, x: ""}, assert: [{type: equals, value: b}]}',
    '{vars: {input: a}, assert: [{type: contains, value: b}]}',
    '{vars: {input: a}, assert: [{type: equals, value: c}]}',
    '{vars: {input: a}, assert: [{type: equals, value: b, weight: 0}]}',
    '{vars: {input: a}, assert: [{type: llm-rubric, value: b}]}',
    '{vars: {input: a}, assert: [{type: llm-rubric, value: b, threshold: 0.9}]}',
    '{vars: {input: a}, threshold: 0.5, assert: [{type: equals, value: b}]}',
    '{description: d, vars: {input: a}, assert: [{type: equals, value: b}]}',
  ].map((test) => goldenSetDigest(parseGoldenSet(`- ${test}`).content));
  assert.equal(new Set(digests).size, digests.length);
});

const one = (assertion: string) => `- {vars: {input: a}, assert: [${assertion}]}`;
const mistakes: [what: string, text: string, code: string, field: string][] = [
  ['nothing', '', 'GOLDEN_SET_EMPTY', 'tests'],
  ['an empty list', '[]', 'GOLDEN_SET_EMPTY', 'tests'],
  ['no tests', 'tests: []', 'GOLDEN_SET_EMPTY', 'tests'],
  [
    'an assertion that Slipway does not make',
    one('{type: javascript, value: "true"}'),
    'GOLDEN_SET_INVALID',
    '[0].assert[0].type',
  ],
  [
    'one in a file',
    `tests:\n${one('{type: similar, value: a}')}`,
    'GOLDEN_SET_INVALID',
    'tests[0].assert[0].type',
  ],
  ['no assertion', '- {vars: {input: a}, assert: []}', 'GOLDEN_SET_INVALID', '[0].assert'],
  ['no assert', '- {vars: {input: a}}', 'GOLDEN_SET_INVALID', '[0].assert'],
  [
    'no input',
    '- {vars: {question: a}, assert: [{type: equals, value: b}]}',
    'GOLDEN_SET_INVALID',
    '[0].vars.input',
  ],
  [
    'a variable that is no text',
    '- {vars: {input: a, n: 1.50}, assert: [{type: equals, value: b}]}',
    'GOLDEN_SET_INVALID',
    '[0].vars.n',
  ],
  [
    'a list of inputs',
    '- {vars: {input: [a, b]}, assert: [{type: equals, value: b}]}',
    'GOLDEN_SET_INVALID',
    '[0].vars.input',
  ],
  [
    'a key of promptfoo that would be ignored',
    '- {vars: {input: a}, options: {}, assert: [{type: equals, value: b}]}',
    'GOLDEN_SET_INVALID',
    '[0].options',
  ],
  ['prompts of its own', 'prompts: [x]\ntests: []', 'GOLDEN_SET_INVALID', 'prompts'],
  ['no value', one('{type: contains}'), 'GOLDEN_SET_INVALID', '[0].assert[0].value'],
  [
    'an empty value, which every answer contains',
    one('{type: contains, value: ""}'),
    'GOLDEN_SET_INVALID',
    '[0].assert[0].value',
  ],
  ['a value that is no text', one('{type: equals, value: 42}'), 'GOLDEN_SET_INVALID', '[0].assert[0].value'],
  ['no regular expression', one('{type: regex, value: "("}'), 'GOLDEN_SET_INVALID', '[0].assert[0].value'],
  [
    'no JSON schema',
    one('{type: is-json, value: {type: text}}'),
    'GOLDEN_SET_INVALID',
    '[0].assert[0].value',
  ],
  ['a schema as a text', one('{type: is-json, value: "{}"}'), 'GOLDEN_SET_INVALID', '[0].assert[0].value'],
  [
    'a threshold without a judge',
    one('{type: equals, value: b, threshold: 0.5}'),
    'GOLDEN_SET_INVALID',
    '[0].assert[0].threshold',
  ],
  [
    'a negative weight',
    one('{type: equals, value: b, weight: -1}'),
    'GOLDEN_SET_INVALID',
    '[0].assert[0].weight',
  ],
  ['no YAML', '[', 'GOLDEN_SET_INVALID', 'line 1, column 2'],
];
for (const [what, text, code, field] of mistakes) {
  test(`refused, naming field and remedy: ${what}`, () => {
    assert.throws(
      () => parseGoldenSet(text),
      (error: unknown) => {
        assert.ok(error instanceof SlipwayError);
        assert.equal(error.code, code);
        assert.equal(error.details.field, field);
        assert.ok(error.details.remedy);
        return true;
      },
    );
  });
}
