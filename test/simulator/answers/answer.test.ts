import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Answerer } from '../../../simulator/answers/answer.ts';
import { answerTo, everyFact, knowledge, messagesOf } from './support.ts';

const prompt = { system: `You are the customer support assistant of Kestrel Market.\n${everyFact}` };
const question = 'How many days do I have to return an item?';

/** The first variation of a question that is answered rightly, or wrongly, under the prompt. */
function askUntil(right: boolean, asked: string, given = prompt): string {
  for (let serial = 0; serial < 200; serial++) {
    const answer = answerTo(messagesOf(given, `${asked} My order is KM-${serial}.`));
    if (answer.right === right) return answer.text;
  }
  throw new Error(`no ${right ? 'right' : 'wrong'} answer in 200`);
}

describe('answers', () => {
  it('depend on the messages, the model and the seed, and on nothing else', () => {
    const messages = messagesOf(prompt, question);
    const first = answerTo(messages, { temperature: 0.7, seed: 3 });
    const other = new Answerer(knowledge).answer({
      messages: structuredClone(messages),
      model: 'meta-llama/Llama-3.1-8B-Instruct',
      ability: { parameters: 8.03e9, weightBits: 16 },
      temperature: 0.7,
      seed: 3,
      responseSchema: null,
      jsonObject: false,
    });
    assert.deepEqual(other, first);
    const seeds = (temperature: number) =>
      new Set(Array.from({ length: 60 }, (_, seed) => answerTo(messages, { temperature, seed }).text)).size;
    assert.ok(seeds(0.7) > 3);
    assert.equal(seeds(0), 1, 'the seed says nothing at temperature 0');
  });

  it('come right as often as their chance says', () => {
    let chances = 0;
    let right = 0;
    const weak = { system: 'You are a support agent of Kestrel Market. Returns are possible.' };
    for (let serial = 0; serial < 4000; serial++) {
      const fact = knowledge.facts[serial % knowledge.facts.length];
      const asked = fact?.questions[0] ?? '';
      const answer = answerTo(messagesOf(serial % 2 === 0 ? weak : prompt, `${asked} KM-${serial}`));
      chances += answer.chance;
      if (answer.right) right += 1;
    }
    // Four standard errors of 4000 draws.
    assert.ok(Math.abs(chances - right) / 4000 < 0.03, `${chances} expected, ${right} came`);
  });

  it('take the form that the question asks for', () => {
    assert.equal(askUntil(true, `${question} Reply with the number only.`), '30');
    assert.equal(askUntil(false, `${question} Reply with the number only.`), '14');
    const json = JSON.parse(askUntil(true, `${question} Answer as JSON with the keys "days" and "answer".`));
    assert.deepEqual(Object.keys(json), ['days', 'answer']);
    assert.equal(json.days, 30);
    assert.match(json.answer, /30 days/);
  });

  it('take the form that a response schema asks for', () => {
    const answer = new Answerer(knowledge).answer({
      messages: messagesOf(prompt, question),
      model: 'm',
      ability: { parameters: 70e9, weightBits: 16 },
      temperature: 0,
      seed: null,
      responseSchema: {
        type: 'object',
        properties: {
          answer: { type: 'string' },
          topic: { type: 'string', enum: ['shipping', 'returns', 'other'] },
          days: { type: 'integer' },
          sources: { type: 'array', items: { type: 'string' } },
          certain: { type: 'boolean' },
        },
      },
      jsonObject: false,
    });
    const value = JSON.parse(answer.text);
    assert.equal(typeof value.answer, 'string');
    assert.equal(value.topic, 'returns');
    assert.ok(Number.isInteger(value.days));
    assert.ok(Array.isArray(value.sources));
    assert.equal(typeof value.certain, 'boolean');
  });

  it('mistake the fact, or hedge where the prompt asks for honesty', () => {
    assert.match(askUntil(false, question), /14 days|depends|website/);
    const honest = { system: 'You are a support agent of Kestrel Market. Never guess.' };
    const hedges = Array.from(
      { length: 100 },
      (_, serial) => answerTo(messagesOf(honest, `${question} KM-${serial}`)).text,
    ).filter((text) => /not sure/.test(text)).length;
    assert.ok(hedges > 30);
  });

  it('do not pretend to know other things', () => {
    const answer = answerTo(messagesOf(prompt, 'What is the capital of France?'));
    assert.equal(answer.fact, null);
    assert.match(answer.text, /Kestrel Market/);
  });
});
