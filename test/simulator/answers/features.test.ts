import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type PromptFeatures, readFeatures } from '../../../simulator/answers/features.ts';
import { everyFact, knowledge } from './support.ts';

const read = (instructions: string, examples: { input: string; output: string }[] = []): PromptFeatures =>
  readFeatures({ instructions, examples, question: '' }, knowledge);
const grounding = (fact: string, instructions: string) => read(instructions).grounding.get(fact);

describe('grounding', () => {
  it('finds every fact in its own words', () => {
    assert.deepEqual(new Set(read(everyFact).grounding.values()), new Set(['stated']));
  });

  it('finds facts in other words, under headings, in tables and in questions with answers', () => {
    for (const [fact, text] of [
      ['returns-window', 'You may send unused things back for 30 days.'],
      ['shipping-standard-time', 'Parcels with standard shipping need 3-5 business days.'],
      ['account-password', 'Forgot the password? The reset link lives for 20 minutes.'],
      ['gift-validity', '# Gift cards\n- valid for three years'],
      ['shipping-express', '| express | 12 euros | next business day |'],
      [
        'rental-deposit',
        'Q: Is there a deposit when I rent?\nQ: How much? The deposit for rented gear is €80.',
      ],
    ] as const) {
      assert.equal(grounding(fact, text), 'stated', text);
    }
  });

  it('tells what is stated in part, contradicted, said twice differently, forbidden, named or absent', () => {
    for (const [expected, text] of [
      ['partly stated', 'Express shipping arrives on the next business day.'],
      ['contradicted', 'Express shipping costs 25 euros and arrives on day 4.'],
      [
        'conflicting',
        'Express shipping costs 12 euros and arrives on the next business day.\nExpress shipping costs 25 euros, arrives in 4 days.',
      ],
      ['forbidden', 'Never talk about shipping.'],
      ['named', 'You know everything on shipping.'],
      ['absent', 'Gift cards are valid for 3 years.'],
    ] as const) {
      assert.equal(grounding('shipping-express', text), expected, text);
    }
  });
});

describe('traits', () => {
  const cases: [keyof PromptFeatures, string[], string[]][] = [
    [
      'role',
      ['You are in customer support at Kestrel Market.', 'Kestrel Market help desk agent'],
      ['You are an assistant.', 'Welcome to Kestrel Market!'],
    ],
    [
      'exact',
      ['Give the exact deadline.', 'Quote the figures from the policy.', 'Always state amounts.'],
      ['Be friendly.', 'Answer exactly once.'],
    ],
    [
      'honest',
      [
        'Never guess.',
        "If you don't know, say so.",
        'If a message is ambiguous, ask.',
        'Ask a clarifying question.',
      ],
      ['Guess boldly.', 'You know everything.'],
    ],
    ['steps', ['Think step by step.', 'First find the policy that applies.'], ['Answer at once.']],
    ['structured', ['- a\n- b\n- c\n- d', '# a\nb\n# c\nd\n# e\nf\n# g'], ['a, b, c and d']],
    [
      'deflects',
      ['For anything else, refer people to the website.', 'Forward all other questions to a colleague.'],
      ['Answer all questions.', 'Refer to the policy below.'],
    ],
    ['offKey', ['Talk like a pirate!', 'Reply with a haiku.'], ['Talk like a colleague.']],
  ];
  for (const [trait, present, absent] of cases) {
    it(`reads ${trait}`, () => {
      for (const text of present) assert.equal(read(text)[trait], true, text);
      for (const text of absent) assert.equal(read(text)[trait], false, text);
    });
  }

  it('reads the strictest limit on words', () => {
    assert.equal(read('Answer in one word.').wordLimit, 1);
    assert.equal(read('At most 40 words, better no more than ten words.').wordLimit, 10);
    assert.equal(read('Use a one-word answer? No: use as many words as you need.').wordLimit, null);
  });

  it('counts demands that contradict each other', () => {
    assert.equal(read('Be concise. Explain in great detail.').contradictions, 1);
    assert.equal(read('Be concise and polite.').contradictions, 0);
  });

  it('tells good examples from bad ones', () => {
    const { goodExamples, badExamples } = read('', [
      { input: 'How long are gift cards valid?', output: 'For 3 years.' },
      { input: 'How long are gift cards valid?', output: 'No idea.' },
      { input: 'What is your name?', output: 'Kes.' },
    ]);
    assert.deepEqual([goodExamples.length, badExamples], [2, 1]);
  });
});
