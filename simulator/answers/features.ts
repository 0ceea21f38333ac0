import type { Fact, Knowledge } from './knowledge.ts';
import { sharePresent, statesFact } from './knowledge.ts';
import type { ReadPrompt } from './prompt.ts';
import { contentWords, normalise } from './words.ts';

/** How a prompt treats one fact. `conflicting`: it states the fact and, elsewhere, something else. */
export type Grounding =
  | 'absent'
  | 'named'
  | 'partly stated'
  | 'stated'
  | 'conflicting'
  | 'contradicted'
  | 'forbidden';

/** What a prompt really says, as far as it can change an answer; README.md lists every feature and its effect. */
export interface PromptFeatures {
  grounding: Map<string, Grounding>;
  /** Names the product and the role of support. */
  role: boolean;
  /** Asks for exact figures, deadlines, amounts. */
  exact: boolean;
  /** Asks to admit what it does not know, or to ask back, instead of guessing. */
  honest: boolean;
  /** Asks to reason step by step. */
  steps: boolean;
  /** Reference text is laid out in headings or lists. */
  structured: boolean;
  /** Sends everything that the prompt does not cover elsewhere. */
  deflects: boolean;
  /** Demands a style that fights with the task: rhymes, a pirate, riddles. */
  offKey: boolean;
  /** Most words that an answer may have; null: no limit. */
  wordLimit: number | null;
  /** Pairs of demands that cannot both be met. */
  contradictions: number;
  /** Examples that answer rightly, or answer what the knowledge does not hold. */
  goodExamples: { input: string; output: string }[];
  /** Examples that answer a known question wrongly. */
  badExamples: number;
  /** Length of instructions and examples in words. */
  words: number;
}

const exact =
  /\b(exact|precise|specific)(ly)?\b[^.\n]{0,40}\b(figure|number|amount|deadline|period|price|detail|fact|condition|answer)|\b(quote|state|give|include|name)\b[^.\n]{0,30}\b(figure|number|amount|deadline|period|price|condition)s?\b/i;
const honest =
  /\b(do not|don't|never|not to)\b[^.\n]{0,20}\b(guess|invent|make up|speculate)|\b(say|admit|tell)\b[^.\n]{0,40}\b(don't know|do not know|not sure|unsure)|\bif\b[^.\n]{0,40}\b(not sure|unsure|unclear|don't know|do not know|ambiguous)\b|\b(clarifying|follow-up) question|\bask (back|for clarification)/i;
const steps =
  /\bstep[- ]by[- ]step\b|\bthink (it |this )?(through|carefully|first)|\bfirst (find|identify|decide|look|determine|work out)\b|\breason(ing)? (first|before|through)/i;
const deflects =
  /\b(anything else|everything else|any other (topic|question|matter|request|subject)s?|all other (topic|question|matter|request|subject)s?|other (topic|question|matter|request|subject)s|not (covered|listed|mentioned))\b[^.\n]{0,80}\b(refer|forward|contact|redirect|send|point|hand|escalate|transfer|decline|ask (the customer|them) to)\b|\b(refer|forward|redirect|send|point|hand|escalate|transfer|decline)\b[^.\n]{0,60}\b(anything else|everything else|(any|all) other (topic|question|matter|request|subject)s?)/i;
const offKey =
  /\b(pirate|shakespear\w*|yoda|limerick|haiku|in rhymes?|rhyming|poems?|riddles?|sarcastic(ally)?|emoji only|only emojis?)\b/i;
const support = /\b(support|help ?desk|customer (service|care)|service (agent|assistant|team))\b/i;
const forbids =
  /\b(do not|don't|never|must not|avoid)\b[^.\n]{0,30}\b(discuss|discussing|mention|mentioning|talk|talking|answer|answering|comment|commenting|speak|speaking)\b([^.\n]*)/gi;
const numberWords = new Map(
  Object.entries({ one: 1, single: 1, two: 2, three: 3, four: 4, five: 5, six: 6, eight: 8, ten: 10 }),
);
const limited =
  /\b(?:at most|no more than|not more than|max(?:imum)?(?: of)?|up to|under|fewer than|less than|within|in|with|exactly|only)(?: a)? (\d+|one|single|two|three|four|five|six|eight|ten)[- ]words?\b/gi;
const opposites: [RegExp, RegExp][] = [
  [/\b(brief|short|concise|one sentence)\b/i, /\b(in (great )?detail|detailed|long|exhaustive|at length)\b/i],
  [
    /\b(formal|professional) (tone|style|language|manner)/i,
    /\b(casual|slang|informal|funny)\b[^.\n]*(tone|style|language|manner)?/i,
  ],
  [
    /\balways (apologi[sz]e|greet|sign)/i,
    /\b(never|do not|don't) (apologi[sz]e|greet|sign|use greetings|use closings)/i,
  ],
  [
    /\b(never|do not|don't) (state|give|mention|quote|use) (any )?(numbers|figures|prices|amounts|deadlines)/i,
    /\b(always|must|exact)[^.\n]*(numbers?|figures?|prices?|amounts?|deadlines?)/i,
  ],
  [
    /\b(only|solely) (use|from|rely on)[^.\n]*(facts|reference|below|policy)/i,
    /\b(ignore|disregard)[^.\n]*(facts|reference|below|above|polic(y|ies))/i,
  ],
];

export function readFeatures(prompt: ReadPrompt, knowledge: Knowledge): PromptFeatures {
  const { instructions, examples } = prompt;
  const lower = normalise(instructions);
  const goodExamples: { input: string; output: string }[] = [];
  let badExamples = 0;
  for (const example of examples) {
    const known = knowledge.recognise(example.input);
    if (known !== null && known.similarity > 0.6 && !statesFact(example.output, known.fact)) badExamples += 1;
    else goodExamples.push(example);
  }
  return {
    grounding: readGrounding(instructions, examples, knowledge),
    role: lower.includes(normalise(knowledge.product)) && support.test(lower),
    exact: exact.test(instructions),
    honest: honest.test(instructions),
    steps: steps.test(instructions),
    structured: (instructions.match(/^\s*(#|[-*•] |\d+[.)] )/gm) ?? []).length >= 4,
    deflects: deflects.test(instructions),
    offKey: offKey.test(instructions),
    wordLimit: wordLimit(instructions),
    contradictions: opposites.filter(([one, other]) => one.test(instructions) && other.test(instructions))
      .length,
    goodExamples,
    badExamples,
    words:
      `${instructions} ${examples.map((example) => `${example.input} ${example.output}`).join(' ')}`.split(
        /\s+/,
      ).length,
  };
}

/** The strictest limit on words that a text sets; null: none. */
export function wordLimit(text: string): number | null {
  let strictest: number | null = null;
  for (const match of text.matchAll(limited)) {
    const limit = numberWords.get((match[1] ?? '').toLowerCase()) ?? Number(match[1]);
    if (strictest === null || limit < strictest) strictest = limit;
  }
  return strictest;
}

/** Share of a fact's subject, weighted by rarity, that a text must name to be read as a statement, or as a wrong one, on that fact. */
const STATED_OVERLAP = 0.4;
const CONTRADICTED_OVERLAP = 0.75;

interface Segment {
  text: string;
  words: Set<string>;
  /** The fact whose questions and statement the text resembles most: so facts in other words are found too. */
  resembles: string | null;
}

/** Lines, and the sentences of longer lines, each read together with the heading above it. */
function segments(
  instructions: string,
  examples: readonly { input: string; output: string }[],
  knowledge: Knowledge,
): Segment[] {
  const found: Segment[] = [];
  const add = (text: string, heading: string) => {
    const whole = `${heading} ${text}`;
    const resembles = knowledge.recognise(whole)?.fact.id ?? null;
    found.push({ text: normalise(text), words: new Set(contentWords(whole)), resembles });
  };
  let heading = '';
  for (const line of instructions.split('\n')) {
    const text = line.trim();
    if (text === '') continue;
    if (/^#|^\*\*[^*]+\*\*:?$|^[^.?!]{1,60}:$/.test(text)) {
      heading = text;
      continue;
    }
    add(text, heading);
    const sentences = text.split(/(?<=[.!?;])\s+/);
    if (sentences.length > 1) for (const sentence of sentences) add(sentence, heading);
  }
  for (const example of examples) add(`${example.input} ${example.output}`, '');
  return found;
}

function readGrounding(
  instructions: string,
  examples: readonly { input: string; output: string }[],
  knowledge: Knowledge,
): Map<string, Grounding> {
  const parts = segments(instructions, examples, knowledge);
  const forbidden = new Set(
    [...instructions.matchAll(forbids)].flatMap((match) => contentWords(match[3] ?? '')),
  );
  const allWords = new Set(contentWords(instructions));
  const grounding = new Map<string, Grounding>();
  for (const fact of knowledge.facts) {
    const topicWords = contentWords(fact.topicName);
    if (topicWords.some((word) => forbidden.has(word))) {
      grounding.set(fact.id, 'forbidden');
      continue;
    }
    let share = 0;
    let contradicted = false;
    for (const part of parts) {
      const overlap = subjectOverlap(fact, part.words);
      if (overlap < STATED_OVERLAP && part.resembles !== fact.id) continue;
      const present = sharePresent(part.text, fact);
      share = Math.max(share, present);
      if (present < 1 && overlap >= CONTRADICTED_OVERLAP && contradicts(part.text, fact)) contradicted = true;
    }
    if (share === 1) grounding.set(fact.id, contradicted ? 'conflicting' : 'stated');
    else if (contradicted) grounding.set(fact.id, 'contradicted');
    else if (share > 0) grounding.set(fact.id, 'partly stated');
    else grounding.set(fact.id, topicWords.some((word) => allWords.has(word)) ? 'named' : 'absent');
  }
  return grounding;
}

function subjectOverlap(fact: Fact, words: Set<string>): number {
  let total = 0;
  let present = 0;
  for (const [word, weight] of fact.subject) {
    total += weight;
    if (words.has(word)) present += weight;
  }
  return total === 0 ? 1 : present / total;
}

/** A text on the fact's subject contradicts it when it gives other numbers, or most of what only the known mistake says. */
function contradicts(text: string, fact: Fact): boolean {
  const numbers = (source: string) => new Set(source.match(/\d+/g) ?? []);
  const right = numbers(normalise(fact.statement));
  const given = numbers(text);
  if (right.size > 0 && given.size > 0) return ![...given].some((number) => right.has(number));
  const saidRightly = new Set(contentWords(fact.statement));
  const onlyWrong = contentWords(fact.wrong).filter((word) => !saidRightly.has(word));
  const words = new Set(contentWords(text));
  return onlyWrong.length > 0 && onlyWrong.filter((word) => words.has(word)).length * 2 > onlyWrong.length;
}
