import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { assertOutput } from '../../domain/evaluation/assertions.ts';
import { parseGoldenSet } from '../../domain/evaluation/golden.ts';
import { parseGuardrailsFile } from '../../domain/guardrails/guardrails.ts';
import { parsePolicy } from '../../domain/policy/parse.ts';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import { checkPrompt } from '../../domain/prompt/check.ts';
import { parsePromptFile } from '../../domain/prompt/parse.ts';
import type { PromptContent } from '../../domain/prompt/prompt.ts';
import { renderMessages, textOf } from '../../domain/prompt/render.ts';
import { parseReleaseFile } from '../../domain/release/parse.ts';
import { checkCapacity } from '../../domain/serving/capacity.ts';
import { loadQuestions } from '../../examples/support-answers/traffic.ts';
import { type Answer, Answerer } from '../../simulator/answers/answer.ts';
import { judge } from '../../simulator/answers/judge.ts';
import { type Fact, loadKnowledge, statesFact } from '../../simulator/answers/knowledge.ts';

const example = join(import.meta.dirname, '../../examples/support-answers');
const read = (path: string) => readFileSync(join(example, path), 'utf8');
const knowledge = loadKnowledge(join(example, 'knowledge.yaml'));
const answerer = new Answerer(knowledge);
const { cases } = parseGoldenSet(read('golden.yaml')).content;
const questions = loadQuestions();

type Version = 'v1' | 'v2-better' | 'v3-regressed' | 'v4-broken';
const versions: Version[] = ['v1', 'v2-better', 'v3-regressed', 'v4-broken'];
const prompts = new Map(
  versions.map((version) => [version, parsePromptFile(read(`prompts/${version}.md`)).content]),
);

function contentOf(version: Version): PromptContent {
  const content = prompts.get(version);
  if (content === undefined) throw new Error(`no prompt ${version}`);
  return content;
}

function ask(version: Version, input: string): Answer {
  const content = contentOf(version);
  const messages = renderMessages(content, { messages: [{ role: 'user', content: input }], variables: {} });
  return answerer.answer({
    messages: messages.map((message) => ({ role: message.role, content: textOf(message.content) })),
    model: 'meta-llama/Llama-3.1-8B-Instruct',
    ability: { parameters: 8.03e9, weightBits: 16 },
    temperature: content.parameters.temperature ?? 1,
    seed: null,
    responseSchema: null,
    jsonObject: false,
  });
}

function factFor(question: string): Fact {
  const fact = knowledge.recognise(question)?.fact;
  if (fact === undefined) throw new Error(`nobody knows: ${question}`);
  return fact;
}

/** Share of right answers to live questions, each asked by twelve customers. */
function liveAccuracy(version: Version, concerns: (fact: Fact) => boolean = () => true): number {
  let right = 0;
  let asked = 0;
  for (const question of questions) {
    const fact = factFor(question);
    if (!concerns(fact)) continue;
    for (let customer = 0; customer < 12; customer++) {
      const { text } = ask(version, `Hello, ${question} My order is KM-${10_000 + 531 * customer}.`);
      if (statesFact(text, fact)) right += 1;
      asked += 1;
    }
  }
  return right / asked;
}

function goldenAccuracy(version: Version): number {
  const passed = cases.filter(({ vars, assert: assertions }) => {
    const input = vars.input ?? '';
    const { text } = ask(version, input);
    return assertions.every((assertion) => {
      if (assertion.type !== 'llm-rubric') return assertOutput(assertion, text).passed;
      const data = `[Task]: ${input}\n***\n[Submission]: ${text}\n***\n[Criterion]: ${String(assertion.value)}\n***\n`;
      return judge(data, ['Y', 'N'], knowledge).choice === 'Y';
    });
  });
  return passed.length / cases.length;
}

const within = (value: number, from: number, to: number, what: string) =>
  assert.ok(value >= from && value <= to, `${what}: ${value.toFixed(3)} is not within ${from} to ${to}`);

describe('support-answers', () => {
  it('has prompts that are one application’s versions and that can be pushed', () => {
    for (const version of versions) {
      const { name, content } = parsePromptFile(read(`prompts/${version}.md`));
      assert.equal(name, 'support-answers');
      checkPrompt(content);
    }
  });

  it('has a golden set that uses every kind of assertion', () => {
    const types = new Set(cases.flatMap((one) => one.assert.map((assertion) => assertion.type)));
    for (const type of ['equals', 'contains', 'icontains', 'regex', 'is-json', 'llm-rubric'] as const) {
      assert.ok(types.has(type), type);
    }
    assert.ok(cases.length >= 30);
  });

  it('has some 150 live questions, all distinct, none of them in the golden set', () => {
    assert.ok(questions.length >= 150);
    assert.equal(new Set(questions).size, questions.length);
    const golden = new Set(cases.map((one) => one.vars.input));
    assert.deepEqual(
      questions.filter((question) => golden.has(question)),
      [],
    );
  });

  it('covers few topics with its golden set, which is why it cannot catch the regression', () => {
    const topics = new Set(cases.map((one) => factFor(one.vars.input ?? '').topic));
    assert.deepEqual([...topics].sort(), ['refunds', 'returns', 'shipping']);
  });

  it('answers live questions better, then worse, then not at all', () => {
    within(liveAccuracy('v1'), 0.66, 0.74, 'v1');
    within(liveAccuracy('v2-better'), 0.82, 0.9, 'v2');
    within(liveAccuracy('v3-regressed'), 0.43, 0.51, 'v3');
    within(liveAccuracy('v4-broken'), 0, 0.1, 'v4');
  });

  it('regresses by more than 30 % outside of what the golden set covers', () => {
    const covered = new Set(cases.map((one) => factFor(one.vars.input ?? '').id));
    const outside = (fact: Fact) => !covered.has(fact.id);
    const regressed = liveAccuracy('v3-regressed', outside);
    assert.ok(regressed < 0.7 * liveAccuracy('v1', outside));
    assert.ok(regressed < 0.7 * liveAccuracy('v2-better', outside));
  });

  it('passes its golden set with the first three prompts and fails it clearly with the fourth', () => {
    for (const version of ['v1', 'v2-better', 'v3-regressed'] as const) {
      within(goldenAccuracy(version), 0.8667, 1, `golden ${version}`);
    }
    within(goldenAccuracy('v4-broken'), 0, 0.3, 'golden v4');
  });

  it('has releases, a guardrail config and a policy that can be read', () => {
    assert.equal(parseGuardrailsFile(read('guardrails.yaml')).name, 'support-answers');
    const policy = parsePolicy(read('policy.yaml'));
    assert.equal(policy.evaluation.minAccuracy, defaultPolicy.evaluation.minAccuracy);
    const quality = policy.gate.metrics.find((metric) => metric.metric === 'quality:judge');
    assert.equal(quality?.margin, 0.08);
    assert.deepEqual([policy.gate.minSamples, policy.gate.minUsers], [1000, 250]);
    assert.ok(policy.canary.minDuration <= 120_000);
    for (const file of readdirSync(join(example, 'releases'))) {
      const release = parseReleaseFile(read(`releases/${file}`));
      assert.equal(release.application, 'support-answers');
      parsePromptFile(read(join('releases', release.prompt)));
    }
  });

  it('changes the runtime in the first release only, and both runtimes fit', () => {
    const [install, better, regressed, broken] = ['0-install', '1-better', '2-regressed', '3-broken'].map(
      (name) => parseReleaseFile(read(`releases/${name}.yaml`)),
    );
    assert.notDeepEqual(better?.runtime, install?.runtime);
    for (const prompt of [regressed, broken])
      assert.deepEqual([prompt?.model, prompt?.runtime], [undefined, undefined]);
    for (const release of [install, better]) {
      const { model, runtime } = release ?? {};
      if (model?.architecture === undefined || runtime === undefined)
        throw new Error('model and runtime are missing');
      const architecture = { ...model.architecture, weightsGiB: model.weightsGiB };
      const verdict = checkCapacity({ name: model.name, architecture, price: model.price }, runtime);
      assert.ok(verdict.fits, verdict.message);
    }
  });
});
