import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type PromptContent, promptDigest } from '../../../domain/prompt/prompt.ts';

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('', '"', '\\', ',', ':', '","', '\0', 'null', '0'),
);
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const number = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value || 0);

const content: fc.Arbitrary<PromptContent> = fc.record({
  system: text,
  template: text,
  variables: fc.array(fc.record({ name: text, description: optional(text), default: optional(text) }), {
    maxLength: 3,
  }),
  examples: fc.array(fc.record({ input: text, output: text }), { maxLength: 3 }),
  parameters: fc.record({
    temperature: optional(number),
    top_p: optional(number),
    max_tokens: optional(fc.integer()),
    stop: optional(fc.array(text, { maxLength: 2 })),
    seed: optional(fc.integer()),
    presence_penalty: optional(number),
    frequency_penalty: optional(number),
  }),
  outputSchema: fc.option(
    fc.dictionary(text, fc.oneof(text, fc.dictionary(text, text, { maxKeys: 2 })), { maxKeys: 3 }),
  ),
});

/** What the content says, with the order of a schema's properties and without members that are undefined. */
const meaning = (value: PromptContent) => [
  value.system,
  value.template,
  value.variables.map((v) => [v.name, v.description ?? null, v.default ?? null]),
  value.examples.map((e) => [e.input, e.output]),
  [
    value.parameters.temperature ?? null,
    value.parameters.top_p ?? null,
    value.parameters.max_tokens ?? null,
    value.parameters.stop ?? null,
    value.parameters.seed ?? null,
    value.parameters.presence_penalty ?? null,
    value.parameters.frequency_penalty ?? null,
  ],
  value.outputSchema === null ? null : JSON.stringify(value.outputSchema),
];

const sameMeaning = (a: PromptContent, b: PromptContent) =>
  JSON.stringify(meaning(a)) === JSON.stringify(meaning(b));

test('invariant 9: contents have the same digest exactly if they say the same', () => {
  fc.assert(
    fc.property(content, content, (a, b) => {
      assert.equal(promptDigest(a) === promptDigest(b), sameMeaning(a, b));
      assert.equal(promptDigest(structuredClone(a)), promptDigest(a));
    }),
  );
});

test('invariant 9: a change of any one field changes the digest', () => {
  const fields = ['system', 'template', 'variables', 'examples', 'parameters', 'outputSchema'] as const;
  fc.assert(
    fc.property(content, content, fc.constantFrom(...fields), (a, b, field) => {
      const changed = { ...a, [field]: b[field] };
      assert.equal(promptDigest(changed) === promptDigest(a), sameMeaning(changed, a));
    }),
    { numRuns: 300 },
  );
});

test('invariant 9: text cannot move between fields or entries without changing the digest', () => {
  fc.assert(
    fc.property(content, text, text, (base, left, right) => {
      fc.pre(left !== '' && right !== '');
      const variants: PromptContent[] = [
        { ...base, system: left + right, template: '' },
        { ...base, system: left, template: right },
        { ...base, system: '', template: left + right },
        { ...base, examples: [{ input: left, output: right }] },
        { ...base, examples: [{ input: left + right, output: '' }] },
        {
          ...base,
          examples: [
            { input: left, output: '' },
            { input: right, output: '' },
          ],
        },
        { ...base, variables: [{ name: left, default: right }] },
        { ...base, variables: [{ name: left, description: right }] },
        { ...base, variables: [{ name: left }, { name: right }] },
        { ...base, parameters: { ...base.parameters, stop: [left, right] } },
        { ...base, parameters: { ...base.parameters, stop: [left + right] } },
      ];
      for (const [i, a] of variants.entries()) {
        for (const b of variants.slice(i + 1)) {
          assert.equal(promptDigest(a) === promptDigest(b), sameMeaning(a, b));
        }
      }
    }),
  );
});

test('the order of a schema counts, because an engine answers in that order', () => {
  const base: PromptContent = {
    system: '',
    template: '{{input}}',
    variables: [],
    examples: [],
    parameters: {},
    outputSchema: { properties: { reasoning: {}, answer: {} } },
  };
  const turned = { ...base, outputSchema: { properties: { answer: {}, reasoning: {} } } };
  assert.notEqual(promptDigest(base), promptDigest(turned));
});
