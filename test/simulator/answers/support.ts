import { join } from 'node:path';
import { type Answer, Answerer } from '../../../simulator/answers/answer.ts';
import { loadKnowledge, statesFact } from '../../../simulator/answers/knowledge.ts';
import type { Message } from '../../../simulator/answers/prompt.ts';

export const knowledge = loadKnowledge(
  join(import.meta.dirname, '../../../examples/support-answers/knowledge.yaml'),
);
const answerer = new Answerer(knowledge);

export interface Setting {
  temperature?: number;
  seed?: number;
  model?: string;
  parameters?: number;
  weightBits?: number;
}

export function answerTo(messages: Message[], setting: Setting = {}): Answer {
  return answerer.answer({
    messages,
    model: setting.model ?? 'meta-llama/Llama-3.1-8B-Instruct',
    ability: { parameters: setting.parameters ?? 8.03e9, weightBits: setting.weightBits ?? 16 },
    temperature: setting.temperature ?? 0,
    seed: setting.seed ?? null,
    responseSchema: null,
    jsonObject: false,
  });
}

/** What stands before the user's message, and around it. */
export interface Prompt {
  system?: string;
  examples?: { input: string; output: string }[];
  /** `{}` is the question. */
  template?: string;
}

export function messagesOf(prompt: Prompt, question: string): Message[] {
  return [
    ...(prompt.system === undefined ? [] : [{ role: 'system', content: prompt.system }]),
    ...(prompt.examples ?? []).flatMap(({ input, output }) => [
      { role: 'user', content: input },
      { role: 'assistant', content: output },
    ]),
    { role: 'user', content: (prompt.template ?? '{}').replace('{}', question) },
  ];
}

/** Share of right answers over every known question (or those of some facts), each asked several times in other words around it. */
export function accuracy(prompt: Prompt, setting: Setting = {}, facts?: readonly string[]): number {
  let right = 0;
  let asked = 0;
  for (const fact of knowledge.facts) {
    if (facts !== undefined && !facts.includes(fact.id)) continue;
    for (const question of fact.questions) {
      for (let time = 0; time < 8; time++) {
        const answer = answerTo(
          messagesOf(prompt, `${question} My order is KM-${10_000 + 97 * time}.`),
          setting,
        );
        if (statesFact(answer.text, fact)) right += 1;
        asked += 1;
      }
    }
  }
  return right / asked;
}

/** The mean probability of a right answer over every known question, or those of some facts. */
export function meanChance(prompt: Prompt, setting: Setting = {}, facts?: readonly string[]): number {
  const asked = knowledge.facts.filter((fact) => facts === undefined || facts.includes(fact.id));
  const chances = asked.flatMap((fact) =>
    fact.questions.map((question) => answerTo(messagesOf(prompt, question), setting).chance),
  );
  return chances.reduce((sum, chance) => sum + chance, 0) / chances.length;
}

/** Every fact as its statement, one a line. */
export const everyFact = knowledge.facts.map((fact) => fact.statement).join('\n');

/** The statements of the facts of some topics. */
export function factsOf(...topics: string[]): string {
  return knowledge.facts
    .filter((fact) => topics.includes(fact.topic))
    .map((fact) => fact.statement)
    .join('\n');
}
