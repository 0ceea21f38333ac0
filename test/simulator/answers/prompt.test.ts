import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readPrompt } from '../../../simulator/answers/prompt.ts';
import { knowledge } from './support.ts';

const question = 'How long does standard shipping take?';
const facts = 'Standard shipping takes 3 to 5 business days.\nGift cards are valid for 3 years.';

describe('reading a prompt', () => {
  for (const [name, template] of Object.entries({
    'the bare question': '{}',
    'a label before it': `${facts}\n\nQuestion: {}\nAnswer:`,
    'a label above it': `Use these facts.\n${facts}\n\nCustomer question:\n{}`,
    'a bold label': `${facts}\n\n**Question:** {}`,
    tags: `${facts}\n<question>\n{}\n</question>\nAnswer in one sentence.`,
    quotes: `${facts}\nA customer writes:\n"""\n{}\n"""\nReply politely.`,
    'no mark at all': `${facts}\n\n{}`,
    'instructions after it': `{}\n\nAnswer from this:\n${facts}`,
  })) {
    it(`finds the question with ${name}`, () => {
      const read = readPrompt([{ role: 'user', content: template.replace('{}', question) }], knowledge);
      assert.equal(read.question, question);
      assert.ok(!read.instructions.includes(question));
      if (template.includes(facts)) assert.ok(read.instructions.includes('3 to 5 business days'));
    });
  }

  it('takes turns as examples, and system and developer messages as instructions', () => {
    const read = readPrompt(
      [
        { role: 'system', content: 'Be kind.' },
        { role: 'developer', content: 'Be brief.' },
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'b' },
        { role: 'user', content: question },
      ],
      knowledge,
    );
    assert.deepEqual(read, {
      instructions: 'Be kind.\n\nBe brief.',
      examples: [{ input: 'a', output: 'b' }],
      question,
    });
  });

  it('keeps a customer message of several lines together', () => {
    const text = 'Hello\nHow long does standard shipping take?\nThanks';
    const read = readPrompt([{ role: 'user', content: `Question: ${text}` }], knowledge);
    assert.equal(read.question, text);
  });
});
