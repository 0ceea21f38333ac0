import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SlipwayError } from '../../domain/errors.ts';
import { parseGoldenSet } from '../../domain/evaluation/golden.ts';
import { parseGuardrailsFile } from '../../domain/guardrails/guardrails.ts';
import { type PromptContent, promptDigest } from '../../domain/prompt/prompt.ts';
import { getGoldenSet, pushGoldenSet } from '../../store/golden-sets.ts';
import { getGuardrails, pushGuardrails } from '../../store/guardrails.ts';
import { getPrompt, listPrompts, pushPrompt } from '../../store/prompts.ts';
import { databaseOfFile } from '../support/database.ts';

const db = await databaseOfFile();

const prompt = (template: string): PromptContent => ({
  system: '',
  template,
  variables: [],
  examples: [],
  parameters: {},
  outputSchema: null,
});
const push = (name: string, content: PromptContent) => pushPrompt(db, { name, content, createdBy: 'ada' });
const coded = (code: string) => (error: unknown) => error instanceof SlipwayError && error.code === code;

test('another content is the next version, the same content the version that it has', async () => {
  const first = await push('steps', prompt('{{input}}'));
  const second = await push('steps', prompt('{{input}}!'));
  const again = await push('steps', prompt('{{input}}'));
  assert.deepEqual([first.version, second.version, again.version], [1, 2, 1]);
  assert.deepEqual([first.created, second.created, again.created], [true, true, false]);
});

test('a version is found by name@n and by digest, and says what was pushed', async () => {
  const content: PromptContent = {
    ...prompt('Ä 🚢 {{input}}\r\n\u2028"\\u0000"'),
    parameters: { temperature: 0.1, stop: ['\n'] },
    outputSchema: { properties: { reasoning: {}, answer: {} }, type: 'object' },
  };
  const { digest } = await push('found', content);
  for (const reference of ['found@1', digest]) {
    const found = await getPrompt(db, reference);
    assert.deepEqual(found, { name: 'found', version: 1, digest, content });
    assert.equal(JSON.stringify(found.content.outputSchema), JSON.stringify(content.outputSchema));
    assert.equal(promptDigest(found.content), digest);
  }
  for (const reference of [
    'found@2',
    'found',
    'found@01',
    'found@99999999999',
    '@1',
    'sha256:0',
    "' or 1=1 --@1",
  ]) {
    await assert.rejects(getPrompt(db, reference), coded('PROMPT_NOT_FOUND'));
  }
});

test('pushes that race get versions in a row, equal ones the same', async () => {
  const contents = Array.from({ length: 40 }, (_, i) => prompt(`${i % 20} {{input}}`));
  const pushed = await Promise.all(contents.map((content) => push('race', content)));
  const versions = new Map(pushed.map((version) => [version.content.template, version.version]));
  assert.deepEqual(
    [...versions.values()].sort((a, b) => a - b),
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  for (const version of pushed) assert.equal(version.version, versions.get(version.content.template));
  assert.equal(pushed.filter((version) => version.created).length, 20);
});

test('the list has every version, the newest of a name first', async () => {
  await push('listed', prompt('a {{input}}'));
  await push('listed', prompt('b {{input}}'));
  const listed = await listPrompts(db, 'listed');
  assert.deepEqual(
    listed.map(({ name, version, createdBy }) => [name, version, createdBy]),
    [
      ['listed', 2, 'ada'],
      ['listed', 1, 'ada'],
    ],
  );
});

test('a prompt that could not serve is refused and makes no version', async () => {
  await assert.rejects(push('refused', prompt('{{tone}} {{input}}')), coded('PROMPT_VARIABLE_UNKNOWN'));
  await assert.rejects(push('refused', prompt('\0{{input}}')), coded('PROMPT_INVALID'));
  await assert.rejects(push('refused', prompt('\ud800{{input}}')), coded('PROMPT_INVALID'));
  await assert.rejects(
    push('refused', { ...prompt('{{input}}'), outputSchema: { maximum: Number.POSITIVE_INFINITY } }),
    coded('PROMPT_INVALID'),
  );
  assert.deepEqual(await listPrompts(db, 'refused'), []);
});

test('golden sets and guardrail configs are versioned alike, each kind by itself', async () => {
  const { content } = parseGoldenSet('- {vars: {input: a}, assert: [{type: contains, value: b}]}');
  const set = await pushGoldenSet(db, { name: 'own', content, createdBy: 'ada' });
  assert.deepEqual((await getGoldenSet(db, 'own@1')).content, content);
  await assert.rejects(getGoldenSet(db, 'own@2'), coded('GOLDEN_SET_NOT_FOUND'));
  await assert.rejects(getPrompt(db, set.digest), coded('PROMPT_NOT_FOUND'));

  const config = parseGuardrailsFile('name: own\noutput: [{type: pii, action: mask}]\n');
  await pushGuardrails(db, { ...config, createdBy: 'ada' });
  assert.deepEqual((await getGuardrails(db, 'own@1')).content, config.content);
  await assert.rejects(getGuardrails(db, 'own@2'), coded('GUARDRAILS_NOT_FOUND'));
});
