import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { accuracy, everyFact, factsOf, meanChance, type Prompt } from './support.ts';

/** Prompts that the simulator was not made for, as different people might write them, from bad to good. */
const strangers: [string, Prompt][] = [
  ['a pirate of one word', { system: 'Talk like a pirate. Answer in one word.' }],
  [
    'a prompt with outdated policies',
    {
      system: `You work in customer support for Kestrel Market.
Unused items can be returned within 14 days of delivery. Standard shipping takes 9 business days, free over 100 euros for orders.
Refunds are paid within 21 business days after the return arrives at the warehouse. Gift cards are valid for 1 year.
An order can be cancelled free of charge within 24 hours after it was placed. The password reset link is valid for 60 minutes.
Trail Points expire 6 months after the last purchase. Orders for store pick-up are kept for 2 days.`,
    },
  ],
  ['nothing at all', {}],
  [
    'a role and nothing else',
    { system: 'You are a support agent of Kestrel Market. Be helpful and polite.' },
  ],
  [
    'two topics in passing',
    { system: `Kestrel Market help desk.\n\n${factsOf('shipping', 'gift-cards')}`, template: 'Question: {}' },
  ],
  [
    'half of the topics, in other words, inside the user message',
    {
      template: `You answer for the customer service of Kestrel Market. What you should know:
* Parcels with standard shipping need 3 to 5 business days. From 60 euros of order value they go out free.
* People who want express pay 12 euros, and it comes the next business day.
* You may send unused things back for 30 days; the label for the return is free (see the Orders page).
* Money from a refund is back 5 business days after your return reached the warehouse, always on the original payment method.
* Cancel an order? Free for the first 2 hours. Change its address? Until it is Packed.
* Pay by Visa, Mastercard, PayPal or bank transfer. There is no cash on delivery.
* Forgot the password? The reset link lives for 20 minutes.
* Own-brand goods have 5 years of warranty, other brands 2 years. A claim needs the order number and two photos.
* A repair takes 3 weeks and the shipping is free.
* You earn 2 Trail Points per euro; 500 Trail Points make a voucher of 10 euros; they expire after 18 months.
* Gift cards: valid 3 years, and 4 gift cards fit into one order.
* Students save 15 percent. Just one discount code per order.
* Stores are open 10 to 19 from Monday to Saturday, closed on Sunday. We hold a pick-up for 10 days.

Question: {}
Answer:`,
    },
  ],
  ['every fact, no role', { system: everyFact }],
  [
    'every fact, role, exact figures',
    {
      system: `You are an agent in the customer support of Kestrel Market. Always quote the exact figures.\n\n${everyFact}`,
    },
  ],
  [
    'the works',
    {
      system: `You are the customer support assistant of Kestrel Market. Think step by step before you answer. State exact amounts and
deadlines. If you are not sure, ask a clarifying question and do not guess.

# Reference
${everyFact
  .split('\n')
  .map((fact) => `- ${fact}`)
  .join('\n')}`,
      examples: [
        {
          input: 'Within how many days may I return shoes?',
          output: 'Unused items can be returned within 30 days.',
        },
        {
          input: 'What does the rental of skis need as a deposit?',
          output: 'A deposit of 80 euros, paid back on return.',
        },
        { input: 'How long does my voucher stay valid?', output: 'Gift cards are valid for 3 years.' },
      ],
    },
  ],
];

const role = 'You are the customer support assistant of Kestrel Market.';
const better = (worse: Prompt, good: Prompt, note: string) => {
  const [low, high] = [meanChance(worse), meanChance(good)];
  assert.ok(low < high - 0.002, `${note}: ${low.toFixed(3)} must be below ${high.toFixed(3)}`);
};

describe('prompts and the quality of answers', () => {
  it('ranks prompts that it was not made for as a reader would', () => {
    const scores = strangers.map(([name, prompt]) => ({ name, score: accuracy(prompt) }));
    for (const [index, { name, score }] of scores.entries()) {
      const next = scores[index + 1];
      if (next !== undefined) {
        assert.ok(
          score < next.score,
          `"${name}" (${score.toFixed(3)}) must do worse than "${next.name}" (${next.score.toFixed(3)})`,
        );
      }
    }
    const spread = Object.fromEntries(scores.map(({ name, score }) => [name, score]));
    assert.ok((spread['a pirate of one word'] ?? 1) < 0.05);
    assert.ok((spread['nothing at all'] ?? 1) < 0.35);
    assert.ok((spread['half of the topics, in other words, inside the user message'] ?? 0) > 0.45);
    assert.ok((spread['the works'] ?? 0) > 0.92);
  });

  it('answers on the topics that the prompt covers, and guesses on the others', () => {
    const prompt = { system: `${role}\n\n${factsOf('refunds', 'rental')}` };
    assert.ok(accuracy(prompt, {}, ['refunds-time', 'refunds-method', 'rental-late', 'rental-buy']) > 0.8);
    assert.ok(accuracy(prompt, {}, ['loyalty-tiers', 'warranty-length', 'stores-hours']) < 0.4);
  });

  it('gains from every fact that is added', () => {
    const lines = everyFact.split('\n');
    const scores = [0, 10, 20, 30, 40, 50].map((count) =>
      meanChance({ system: `${role}\n${lines.slice(0, count).join('\n')}` }),
    );
    for (const [index, score] of scores.entries()) assert.ok(index === 0 || score > (scores[index - 1] ?? 1));
  });

  it('gains from each good trait alone', () => {
    const plain = `${everyFact}`;
    better({ system: plain }, { system: `${role}\n${plain}` }, 'role');
    better({ system: plain }, { system: `Always give the exact figures.\n${plain}` }, 'exactness');
    better({ system: plain }, { system: `Think step by step.\n${plain}` }, 'steps');
    better({ system: plain }, { system: `If you are not sure, say so.\n${plain}` }, 'honesty with the facts');
    better({ system: plain }, { system: plain.replace(/^/gm, '- ') }, 'structure');
    better(
      { system: plain },
      {
        system: plain,
        examples: [{ input: 'Do Trail Points expire?', output: 'Trail Points expire after 18 months.' }],
      },
      'an example',
    );
  });

  it('gains from an example most where the example is alike', () => {
    const example = {
      input: 'How long is my pick-up order kept at the store?',
      output: 'It is kept for 10 days.',
    };
    const gain = (fact: string) =>
      meanChance({ system: role, examples: [example] }, {}, [fact]) -
      meanChance({ system: role }, {}, [fact]);
    assert.ok(gain('stores-pickup') > 0.4);
    assert.ok(gain('rental-late') < 0.1);
  });

  it('loses from each bad trait alone', () => {
    const good = `${role}\n${everyFact}`;
    better({ system: `${good}\nTalk like a pirate.` }, { system: good }, 'an odd style');
    better(
      { system: `${good}\nBe brief. Explain in great detail.` },
      { system: good },
      'contradictory demands',
    );
    better(
      { system: `${good}\n${'We value every customer and every message. '.repeat(500)}` },
      { system: good },
      'length',
    );
    better({ system: `${good}\nDo not discuss refunds.` }, { system: good }, 'a forbidden topic');
    better(
      { system: `${good}\nGift cards are valid for 12 years.` },
      { system: good },
      'two versions of one fact',
    );
    better(
      { system: good, examples: [{ input: 'How long are gift cards valid?', output: 'No idea.' }] },
      { system: good },
      'a bad example',
    );
    const limited = accuracy({ system: `${good}\nAnswer in at most three words.` });
    assert.ok(limited < 0.2, `three words: ${limited}`);
  });

  it('sends customers away where the prompt says so and states nothing', () => {
    const prompt = {
      system: `${role}\n${factsOf('returns')}\nFor any other question refer the customer to the website.`,
    };
    assert.ok(accuracy(prompt, {}, ['rental-late', 'gift-validity']) < 0.15);
    assert.ok(accuracy(prompt, {}, ['returns-window', 'returns-label']) > 0.8);
  });

  it('loses from a high temperature, a smaller model and coarse quantisation', () => {
    const prompt = { system: `${role}\n${everyFact}` };
    const chance = meanChance(prompt);
    assert.ok(meanChance(prompt, { temperature: 1 }) < chance);
    assert.ok(meanChance(prompt, { parameters: 1e9 }) < chance);
    assert.ok(meanChance(prompt, { parameters: 70e9 }) > chance);
    assert.ok(meanChance(prompt, { weightBits: 4 }) < chance);
  });
});
