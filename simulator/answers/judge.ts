import { unitHash } from './hash.ts';
import { type Knowledge, sharePresent } from './knowledge.ts';
import { contentWords, normalise } from './words.ts';

/** The share of its verdicts that a judge gets wrong, whatever the answer. */
export const JUDGE_NOISE = 0.03;

/** How a submission stands to what the knowledge (or else the expert's answer) holds. */
export type Grade = 'right' | 'partial' | 'wrong';

export interface Judgement {
  choice: string;
  reasons: string;
}

/**
 * Plays an LLM judge: reads question, submission and expert's answer from the message, grades the submission, and picks the choice
 * that says so. It knows neither who answered nor under which prompt.
 */
export function judge(text: string, choices: readonly string[], knowledge: Knowledge): Judgement {
  const parts = readParts(text);
  const first = gradeOf(parts, parts.submission, knowledge);
  const noisy = unitHash('judge', text) < JUDGE_NOISE;
  if (parts.rival !== null) {
    const second = gradeOf(parts, parts.rival, knowledge);
    const better = rank(first) > rank(second);
    return {
      choice: choiceFor(better !== noisy ? 'right' : 'wrong', choices, text),
      reasons: `The first response is ${first}, the second is ${second}.`,
    };
  }
  const grade: Grade = noisy ? (first === 'right' ? 'wrong' : 'right') : first;
  return {
    choice: choiceFor(grade, choices, text),
    reasons: `The submission was checked against what is known on the question; it is ${grade}.`,
  };
}

interface Parts {
  question: string;
  submission: string;
  expert: string | null;
  criterion: string | null;
  rival: string | null;
}

/** Sections as `[Label]: text` (autoevals) or `Label: text` at the start of a line, up to the next label or a line of stars. */
function readParts(text: string): Parts {
  const sections = new Map<string, string>();
  const label =
    /^[ \t#*]*(?:\[([A-Za-z][A-Za-z ]*\d?)\]:?|<([a-z_]+)>|(question|task|input|submission|answer|output|response|expert|reference|expected|criterion|criteria|rubric)\s*:)[* \t]*/gim;
  const found = [...text.matchAll(label)];
  for (const [index, match] of found.entries()) {
    const name = (match[1] ?? match[2] ?? match[3] ?? '').trim().toLowerCase();
    const end = found[index + 1]?.index ?? text.length;
    const body = text
      .slice(match.index + match[0].length, end)
      .replace(/^[ \t]*\*{3,}[ \t]*$[\s\S]*/m, '')
      .replace(/<\/[a-z_]+>/g, '')
      .trim();
    if (!sections.has(name)) sections.set(name, body);
  }
  const first = (...names: string[]) =>
    names.map((name) => sections.get(name)).find((part) => part !== undefined);
  return {
    question: first('question', 'task', 'input', 'instruction 1', 'instructions') ?? '',
    submission: first('submission', 'response 1', 'answer', 'output', 'response') ?? text,
    expert: first('expert', 'reference', 'expected') ?? null,
    criterion: first('criterion', 'criteria', 'rubric') ?? null,
    rival: first('response 2') ?? null,
  };
}

function gradeOf(parts: Parts, submission: string, knowledge: Knowledge): Grade {
  const answer = normalise(submission);
  const fact = knowledge.recognise(parts.question)?.fact;
  if (fact !== undefined) {
    const share = sharePresent(answer, fact);
    if (share === 1) return 'right';
    return share > 0 && !answer.includes(normalise(fact.wrong)) ? 'partial' : 'wrong';
  }
  return gradeByReference(parts.expert ?? parts.criterion ?? '', answer);
}

/** Without knowledge of the question: the numbers of the reference must be in the answer, and most of its words. */
function gradeByReference(reference: string, answer: string): Grade {
  const numbers = normalise(reference).match(/\d+/g) ?? [];
  const words = contentWords(reference);
  const said = new Set(contentWords(answer));
  const share = words.length === 0 ? 0 : words.filter((word) => said.has(word)).length / words.length;
  if (numbers.some((number) => !answer.includes(number))) return 'wrong';
  if (share >= 0.5) return 'right';
  return share >= 0.25 ? 'partial' : 'wrong';
}

function rank(grade: Grade): number {
  return { wrong: 0, partial: 1, right: 2 }[grade];
}

const good = /^(y|yes|pass|passed|correct|right|good|true|accurate|1|10|5)$/i;
const bad = /^(n|no|fail|failed|incorrect|wrong|bad|false|inaccurate|0)$/i;
const middling = /^(partial|partially|partly|unsure|maybe|unclear|neutral)\b/i;

/**
 * The choice that expresses a grade. A choice that is no verdict by itself is read by its line `(X) …` in the text: a full match is
 * right, a subset partial, a disagreement wrong.
 */
function choiceFor(grade: Grade, choices: readonly string[], text: string): string {
  const meaning = new Map(choices.map((choice) => [choice, meaningOf(choice, text)]));
  const pick = (wanted: Grade) => choices.find((choice) => meaning.get(choice) === wanted);
  const order: Grade[] =
    grade === 'right'
      ? ['right', 'partial']
      : grade === 'partial'
        ? ['partial', 'wrong']
        : ['wrong', 'partial'];
  for (const wanted of order) {
    const choice = pick(wanted);
    if (choice !== undefined) return choice;
  }
  return choices[0] ?? '';
}

function meaningOf(choice: string, text: string): Grade | null {
  if (good.test(choice)) return 'right';
  if (bad.test(choice)) return 'wrong';
  if (middling.test(choice)) return 'partial';
  const escaped = choice.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  const line =
    new RegExp(`^[ \\t*-]*(?:\\(${escaped}\\)|${escaped}[.:)])[ \\t]*(.+)$`, 'm').exec(text)?.[1] ?? '';
  if (/\b(disagree|incorrect|wrong|conflict|contradict|not (correct|meet|answer)|fails?)/i.test(line))
    return 'wrong';
  if (/\b(subset|partial|partly|incomplete|some of)/i.test(line)) return 'partial';
  if (/\b(all the same|correct|fully|complete|meets|accurate|right)/i.test(line) && !/superset/i.test(line))
    return 'right';
  return null;
}
