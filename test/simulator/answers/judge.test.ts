import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { JUDGE_NOISE, judge } from '../../../simulator/answers/judge.ts';
import { knowledge } from './support.ts';

const closed = (task: string, submission: string, criterion = 'The answer is right.') =>
  `You are assessing a submitted answer on a given task based on a criterion. Here is the data:
[BEGIN DATA]
***
[Task]: ${task}
***
[Submission]: ${submission}
***
[Criterion]: ${criterion}
***
[END DATA]
Does the submission meet the criterion?`;
const yesNo = ['Y', 'N'];

/** Share of the facts for which the judge's choice is the expected one. */
function agreement(text: (index: number) => string, choices: string[], expected: string): number {
  const choicesMade = knowledge.facts.map((_, index) => judge(text(index), choices, knowledge).choice);
  return choicesMade.filter((choice) => choice === expected).length / choicesMade.length;
}
const fact = (index: number) => {
  const found = knowledge.facts[index];
  if (found === undefined) throw new RangeError(`no fact ${index}`);
  return found;
};

describe('judge', () => {
  it('accepts right answers and rejects mistakes and evasions, but for a little noise', () => {
    const question = (index: number) => fact(index).questions[1] ?? '';
    const least = 1 - 4 * JUDGE_NOISE;
    assert.ok(agreement((i) => closed(question(i), `Sure. ${fact(i).statement} Bye!`), yesNo, 'Y') >= least);
    assert.ok(agreement((i) => closed(question(i), fact(i).wrong), yesNo, 'N') >= least);
    assert.ok(agreement((i) => closed(question(i), 'I am not sure about that.'), yesNo, 'N') >= least);
  });

  it('errs about as often as documented', () => {
    let errors = 0;
    for (let serial = 0; serial < 4000; serial++) {
      const text = closed(`${fact(serial % 50).questions[0]} KM-${serial}`, fact(serial % 50).statement);
      if (judge(text, yesNo, knowledge).choice !== 'Y') errors += 1;
    }
    assert.ok(Math.abs(errors / 4000 - JUDGE_NOISE) < 0.011, `${errors} of 4000`);
  });

  it('reads other layouts: labels in lines, tags', () => {
    const texts = (submission: string) => [
      `Question: How long are gift cards valid?\nAnswer: ${submission}\nGrade it.`,
      `<question>How long are gift cards valid?</question>\n<answer>${submission}</answer>`,
      `## Input: How long are gift cards valid?\n## Output: ${submission}`,
    ];
    for (const text of texts('They are valid for 3 years.')) {
      assert.equal(judge(text, ['pass', 'fail'], knowledge).choice, 'pass', text);
    }
    for (const text of texts('They are valid for 9 years.')) {
      assert.equal(judge(text, ['pass', 'fail'], knowledge).choice, 'fail', text);
    }
  });

  it('reads what lettered choices mean from the text', () => {
    const text = (submission: string) => `[Question]: What does express shipping cost and how fast is it?
************
[Expert]: Express shipping costs 12 euros and arrives on the next business day.
************
[Submission]: ${submission}
************
(A) The submitted answer is a subset of the expert answer and is fully consistent with it.
(C) The submitted answer contains all the same details as the expert answer.
(D) There is a disagreement between the submitted answer and the expert answer.`;
    const letters = ['A', 'C', 'D'];
    const choose = (submission: string) => judge(text(submission), letters, knowledge).choice;
    assert.equal(choose('It costs 12 euros, arriving the next business day.'), 'C');
    assert.equal(choose('It costs 12 euros.'), 'A');
    assert.equal(choose('It costs 20 euros.'), 'D');
  });

  it('tells which of two responses is better', () => {
    const text = (one: string, other: string) =>
      `[Instruction 1]\nHow long are gift cards valid?\n[Response 1]\n${one}\n\n[Instruction 2]\nHow long are gift cards valid?
[Response 2]\n${other}\n\nIs the first response better than the second?`;
    const better = (one: string, other: string) => judge(text(one, other), ['Yes', 'No'], knowledge).choice;
    assert.equal(better('For 3 years.', 'For 1 year.'), 'Yes');
    assert.equal(better('For 1 year.', 'For 3 years.'), 'No');
  });

  it('judges by the criterion what the knowledge does not hold', () => {
    const task = 'What is the capital of France?';
    const criterion = 'The answer names Paris as the capital.';
    assert.equal(judge(closed(task, 'The capital is Paris.', criterion), yesNo, knowledge).choice, 'Y');
    assert.equal(judge(closed(task, 'I like cheese.', criterion), yesNo, knowledge).choice, 'N');
  });
});
