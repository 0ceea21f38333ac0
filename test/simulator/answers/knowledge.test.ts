import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { statesFact } from '../../../simulator/answers/knowledge.ts';
import { knowledge } from './support.ts';

describe('knowledge', () => {
  it('tells the right statement of every fact from its mistake', () => {
    for (const fact of knowledge.facts) {
      assert.ok(statesFact(fact.statement, fact), `${fact.id}: its statement`);
      assert.ok(!statesFact(fact.wrong, fact), `${fact.id}: its mistake`);
    }
  });

  it('does not find a number in a longer one, or a word in a longer one', () => {
    assert.ok(statesFact('Within 30 days.', { states: ['30 days'] }));
    assert.ok(!statesFact('Within 130 days.', { states: ['30 days'] }));
    assert.ok(!statesFact('It was unpacked.', { states: ['Packed'] }));
    assert.ok(statesFact('costs €12', { states: ['12 euros|€12'] }));
    assert.ok(!statesFact('costs €120', { states: ['12 euros|€12'] }));
  });

  it('recognises every question that it knows, whatever customers put around it', () => {
    for (const fact of knowledge.facts) {
      for (const question of fact.questions) {
        const asked = `Good morning, ${question} My order is KM-48213. Thank you very much.`;
        assert.equal(knowledge.recognise(asked)?.fact.id, fact.id, question);
      }
    }
  });

  it('recognises questions that it was not given', () => {
    const unseen = {
      'returns-window': 'Within how many days must an unused item be returned?',
      'shipping-express': 'What is the cost of an express shipment?',
      'account-password': 'For how many minutes does the link to reset my password work?',
      'gift-validity': 'Will my gift card expire some day?',
      'warranty-length': 'How many years of warranty does an own-brand jacket have?',
      'stores-hours': 'When do the stores open on Saturday?',
      'loyalty-expiry': 'After how many months do Trail Points expire?',
      'rental-deposit': 'Is there a deposit on rented gear?',
      'orders-cancel': 'Is it too late to cancel my order?',
      'discounts-student': 'I am a student, is there a discount for me?',
    };
    for (const [fact, question] of Object.entries(unseen)) {
      assert.equal(knowledge.recognise(question)?.fact.id, fact, question);
    }
  });

  it('does not recognise what it does not know', () => {
    for (const question of ['What is the capital of France?', 'Write a poem.', '', 'Hello!', '???']) {
      assert.equal(knowledge.recognise(question), null, question);
    }
  });
});
