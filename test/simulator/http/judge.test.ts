import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Battle, ClosedQA, Factuality, LLMClassifierFromTemplate, type Score } from 'autoevals';
import { type Served, serve } from './support.ts';

const input = 'What does express shipping cost and how fast is it?';
const right = 'Express shipping costs 12 euros and arrives on the next business day.';
const wrong = 'Express shipping costs 20 euros and arrives within two business days.';

describe('judge, asked by autoevals', () => {
  let served: Served;
  before(async () => {
    served = await serve();
  });
  after(() => served.close());

  const access = () => ({ model: 'support', openAiBaseUrl: `${served.url}/v1`, openAiApiKey: 'unused' });
  const score = async (result: Score | Promise<Score>) => {
    const { score: given, metadata } = await result;
    assert.equal(typeof metadata?.rationale, 'string');
    return given;
  };

  it('scores ClosedQA', async () => {
    const criteria = 'The answer is right and complete.';
    assert.equal(await score(ClosedQA({ input, output: right, criteria, ...access() })), 1);
    assert.equal(await score(ClosedQA({ input, output: wrong, criteria, ...access() })), 0);
  });

  it('scores Factuality', async () => {
    assert.equal(await score(Factuality({ input, output: right, expected: right, ...access() })), 1);
    assert.equal(await score(Factuality({ input, output: wrong, expected: right, ...access() })), 0);
    assert.equal(
      await score(Factuality({ input, output: 'It costs 12 euros.', expected: right, ...access() })),
      0.4,
    );
  });

  it('scores Battle', async () => {
    assert.equal(
      await score(Battle({ instructions: input, output: right, expected: wrong, ...access() })),
      1,
    );
    assert.equal(
      await score(Battle({ instructions: input, output: wrong, expected: right, ...access() })),
      0,
    );
  });

  it('scores a template of one\u2019s own', async () => {
    const helpful = LLMClassifierFromTemplate<{ input: string }>({
      name: 'Helpful',
      promptTemplate: 'Question: {{input}}\nAnswer: {{output}}\nIs the answer right?',
      choiceScores: { yes: 1, no: 0 },
    });
    assert.equal(await score(helpful({ input, output: right, ...access() })), 1);
    assert.equal(await score(helpful({ input, output: wrong, ...access() })), 0);
  });
});
