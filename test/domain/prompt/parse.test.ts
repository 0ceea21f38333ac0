import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SlipwayError } from '../../../domain/errors.ts';
import { checkPrompt } from '../../../domain/prompt/check.ts';
import { promptText } from '../../../domain/prompt/diff.ts';
import { parsePromptContent, parsePromptFile } from '../../../domain/prompt/parse.ts';

const file = `---
name: answers
system: |
  You help.
variables:
  - name: product
    description: what it is about
    default: Slipway
examples:
  - { input: "Open?", output: "Yes." }
parameters: { temperature: 0.2, stop: ["\\n\\n"] }
outputSchema:
  type: object
  properties: { reasoning: { type: string }, answer: { type: string } }
---
  {{input}}
--- not a fence
about {{product}}`;

test('front matter is the fields, everything after it the template, character by character', () => {
  assert.deepEqual(parsePromptFile(file), {
    name: 'answers',
    content: {
      system: 'You help.\n',
      template: '  {{input}}\n--- not a fence\nabout {{product}}',
      variables: [{ name: 'product', description: 'what it is about', default: 'Slipway' }],
      examples: [{ input: 'Open?', output: 'Yes.' }],
      parameters: { temperature: 0.2, stop: ['\n\n'] },
      outputSchema: {
        type: 'object',
        properties: { reasoning: { type: 'string' }, answer: { type: 'string' } },
      },
    },
  });
});

test('no character of a template is lost, whatever ends the lines', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary', minLength: 1 }),
      fc.constantFrom('\n', '\r\n'),
      (body, newline) => {
        const text = ['---', 'name: a', '---', body].join(newline);
        assert.equal(parsePromptFile(text).content.template, body);
      },
    ),
  );
});

test('plain YAML holds the template as a field', () => {
  const { content } = parsePromptFile('name: a\ntemplate: "{{input}}"\n');
  assert.deepEqual(content, {
    system: '',
    template: '{{input}}',
    variables: [],
    examples: [],
    parameters: {},
    outputSchema: null,
  });
});

test('a prompt shown as a text is the same prompt when it is read again', () => {
  const { content } = parsePromptFile(file);
  assert.deepEqual(parsePromptFile(promptText(content).replace('---\n', '---\nname: a\n')).content, content);
});

const mistakes: [what: string, text: string, code: string, field: string][] = [
  ['a field that no prompt has', 'name: a\nsystme: x\ntemplate: "{{input}}"', 'PROMPT_INVALID', 'systme'],
  [
    'a parameter that is not one',
    'name: a\ntemplate: x\nparameters: {temprature: 1}',
    'PROMPT_INVALID',
    'parameters.temprature',
  ],
  ['a template in the front matter', '---\nname: a\ntemplate: x\n---\ny', 'PROMPT_INVALID', 'template'],
  ['no template', '---\nname: a\n---\n', 'PROMPT_INVALID', 'template'],
  ['no name', '---\nsystem: a\n---\n{{input}}', 'PROMPT_INVALID', 'name'],
  ['a name with an @', '---\nname: a@1\n---\n{{input}}', 'PROMPT_INVALID', 'name'],
  [
    'an example that is no text',
    '---\nname: a\nexamples: [{input: a, output: 4}]\n---\n{{input}}',
    'PROMPT_INVALID',
    'examples[0].output',
  ],
  [
    'a schema that is a list',
    '---\nname: a\noutputSchema: []\n---\n{{input}}',
    'PROMPT_INVALID',
    'outputSchema',
  ],
  [
    'no YAML, by the line in the file',
    '---\nname: a\nsystem: [\n---\n{{input}}',
    'PROMPT_INVALID',
    'line 4, column 1',
  ],
  ['a key given twice', '---\nname: a\nname: b\n---\n{{input}}', 'PROMPT_INVALID', 'line 3, column 1'],
  ['an undeclared variable', '---\nname: a\n---\n{{input}} {{tone}}', 'PROMPT_VARIABLE_UNKNOWN', 'template'],
  [
    'one in the system text',
    '---\nname: a\nsystem: "{{tone}}"\n---\n{{input}}',
    'PROMPT_VARIABLE_UNKNOWN',
    'system',
  ],
  [
    'one of a section',
    '---\nname: a\n---\n{{#tone}}x{{/tone}}{{input}}',
    'PROMPT_VARIABLE_UNKNOWN',
    'template',
  ],
  ['a section left open', '---\nname: a\n---\n{{#input}}', 'PROMPT_INVALID', 'template'],
  ['a partial', '---\nname: a\n---\n{{>other}}{{input}}', 'PROMPT_INVALID', 'template'],
  ['changed delimiters', '---\nname: a\n---\n{{=<% %>=}}<%input%>', 'PROMPT_INVALID', 'template'],
  ['no input', '---\nname: a\n---\nSay hello', 'PROMPT_INVALID', 'template'],
  [
    'input declared',
    '---\nname: a\nvariables: [{name: input}]\n---\n{{input}}',
    'PROMPT_INVALID',
    'variables[0].name',
  ],
  [
    'a variable declared twice',
    '---\nname: a\nvariables: [{name: b}, {name: b}]\n---\n{{input}}',
    'PROMPT_INVALID',
    'variables[1].name',
  ],
  [
    'a variable with a dot',
    '---\nname: a\nvariables: [{name: b.c}]\n---\n{{input}}',
    'PROMPT_INVALID',
    'variables[0].name',
  ],
  [
    'no JSON schema',
    '---\nname: a\noutputSchema: {type: text}\n---\n{{input}}',
    'PROMPT_INVALID',
    'outputSchema',
  ],
];
for (const [what, text, code, field] of mistakes) {
  test(`refused, naming field and remedy: ${what}`, () => {
    assert.throws(
      () => checkPrompt(parsePromptFile(text).content),
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

test("the API's JSON is judged alike", () => {
  const { content } = parsePromptFile(file);
  assert.deepEqual(parsePromptContent(JSON.parse(JSON.stringify(content))), content);
  assert.throws(() => parsePromptContent({ ...content, name: 'a' }), /name is not known here/);
});
