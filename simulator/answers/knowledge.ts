import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { contentWords, normalise } from './words.ts';

const factSchema = z.strictObject({
  id: z.string(),
  statement: z.string(),
  states: z.array(z.string()).min(1),
  wrong: z.string(),
  value: z.string(),
  difficulty: z.number().min(0).max(1),
  questions: z.array(z.string()).min(1),
});
const knowledgeSchema = z.strictObject({
  product: z.string(),
  topics: z
    .array(z.strictObject({ id: z.string(), name: z.string(), facts: z.array(factSchema).min(1) }))
    .min(1),
});

export interface Fact extends z.infer<typeof factSchema> {
  topic: string;
  topicName: string;
  /** What the statement is about: its content words without those of `states`, each with its weight. */
  subject: Map<string, number>;
}

interface Paraphrase {
  fact: Fact;
  weights: Map<string, number>;
  norm: number;
}

/** A question recognised: the fact that answers it, and how alike the nearest known question is, 0–1. */
export interface Recognition {
  fact: Fact;
  similarity: number;
}

/** Below this the question is taken as one that the knowledge does not answer. */
const RECOGNISED = 0.3;

/** What the model "learned": facts, and the questions that they answer. Questions are recognised by tf-idf cosine. */
export class Knowledge {
  readonly product: string;
  readonly facts: Fact[] = [];
  readonly #rarity = new Map<string, number>();
  readonly #postings = new Map<string, { paraphrase: number; weight: number }[]>();
  readonly #paraphrases: Paraphrase[] = [];

  constructor(text: string) {
    const file = knowledgeSchema.parse(parse(text));
    this.product = file.product;
    const facts = file.topics.flatMap((topic) =>
      topic.facts.map((fact) => ({ ...fact, topic: topic.id, topicName: topic.name })),
    );
    const documents = facts.flatMap((fact) => [...fact.questions, fact.statement]);
    const frequency = new Map<string, number>();
    for (const document of documents) {
      for (const word of contentWords(document)) frequency.set(word, (frequency.get(word) ?? 0) + 1);
    }
    for (const [word, count] of frequency) this.#rarity.set(word, Math.log(1 + documents.length / count));
    for (const fact of facts) {
      const said = new Set(fact.states.flatMap((entry) => contentWords(entry)));
      const subject = new Map<string, number>();
      for (const word of contentWords(fact.statement)) {
        if (!said.has(word)) subject.set(word, this.rarity(word));
      }
      const learned: Fact = { ...fact, subject };
      this.facts.push(learned);
      for (const question of [...fact.questions, `${fact.topicName} ${fact.statement}`])
        this.#learn(learned, question);
    }
  }

  /** How telling a word is; an unknown word is as rare as can be. */
  rarity(word: string): number {
    return this.#rarity.get(word) ?? 5;
  }

  recognise(question: string): Recognition | null {
    const words = contentWords(question).filter((word) => this.#rarity.has(word));
    if (words.length === 0) return null;
    const dots = new Map<number, number>();
    let norm = 0;
    for (const word of words) {
      const weight = this.rarity(word);
      norm += weight * weight;
      for (const posting of this.#postings.get(word) ?? []) {
        dots.set(posting.paraphrase, (dots.get(posting.paraphrase) ?? 0) + weight * posting.weight);
      }
    }
    let best: Recognition | null = null;
    for (const [index, dot] of dots) {
      const paraphrase = this.#paraphrases[index];
      if (paraphrase === undefined) continue;
      const similarity = dot / Math.sqrt(norm * paraphrase.norm);
      if (similarity >= RECOGNISED && (best === null || similarity > best.similarity)) {
        best = { fact: paraphrase.fact, similarity };
      }
    }
    return best;
  }

  #learn(fact: Fact, question: string): void {
    const weights = new Map<string, number>();
    let norm = 0;
    for (const word of contentWords(question)) {
      const weight = this.rarity(word);
      weights.set(word, weight);
      norm += weight * weight;
    }
    const index = this.#paraphrases.push({ fact, weights, norm }) - 1;
    for (const [word, weight] of weights) {
      const postings = this.#postings.get(word) ?? [];
      postings.push({ paraphrase: index, weight });
      this.#postings.set(word, postings);
    }
  }
}

/** Whether a text holds every entry of a fact's `states`; `a|b` is either. */
export function statesFact(text: string, fact: Pick<Fact, 'states'>): boolean {
  return sharePresent(normalise(text), fact) === 1;
}

/** The share of a fact's `states` that a normalised text holds. A number is not found inside a longer number. */
export function sharePresent(normalisedText: string, fact: Pick<Fact, 'states'>): number {
  const present = fact.states.filter((entry) =>
    entry.split('|').some((value) => holds(normalisedText, normalise(value))),
  );
  return present.length / fact.states.length;
}

function holds(text: string, value: string): boolean {
  for (let at = text.indexOf(value); at >= 0; at = text.indexOf(value, at + 1)) {
    if (!continues(text[at - 1], value[0]) && !continues(value.at(-1), text[at + value.length])) return true;
  }
  return false;
}

/** Whether two neighbouring characters belong to one word or one number. */
function continues(left: string | undefined, right: string | undefined): boolean {
  return left !== undefined && right !== undefined && /^(\p{L}{2}|\d{2})$/u.test(left + right);
}

export function loadKnowledge(path: string): Knowledge {
  return new Knowledge(readFileSync(path, 'utf8'));
}
