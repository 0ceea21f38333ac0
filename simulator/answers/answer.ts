import { chanceOfRight, type ModelAbility } from './chance.ts';
import { type PromptFeatures, readFeatures, wordLimit } from './features.ts';
import { type AnswerForm, answerForm, type Content, inForm, type JsonSchema } from './format.ts';
import { hash32, unitHash } from './hash.ts';
import { type Fact, type Knowledge, statesFact } from './knowledge.ts';
import { type Message, type ReadPrompt, readPrompt } from './prompt.ts';

export interface AnswerRequest {
  messages: readonly Message[];
  model: string;
  ability: ModelAbility;
  temperature: number;
  /** Without effect at temperature 0. */
  seed: number | null;
  responseSchema: JsonSchema | null;
  jsonObject: boolean;
}

export interface Answer {
  text: string;
  /** The fact that was asked for; null: the knowledge does not hold it. */
  fact: string | null;
  right: boolean;
  /** The probability with which `right` was drawn. */
  chance: number;
}

const openers = ['', '', 'Sure. ', 'Happy to help. ', 'Thanks for asking. '];
const closers = ['', '', '', ' Is there anything else I can help with?', ' Let me know if you need more.'];
const vague = [
  'That depends on your order; please look at the details on your account page.',
  'You will find the current conditions on our website.',
];
const unsure = 'I am not sure about that. Let me ask a colleague who gets back to you.';

/** A prompt's features depend on its constant parts only, so few distinct ones are alive at a time. */
const REMEMBERED_PROMPTS = 200;

/** Answers questions as a model with this knowledge would under the prompt it was given. A pure function of the request. */
export class Answerer {
  readonly #knowledge: Knowledge;
  readonly #features = new Map<string, PromptFeatures>();

  constructor(knowledge: Knowledge) {
    this.#knowledge = knowledge;
  }

  answer(request: AnswerRequest): Answer {
    const prompt = readPrompt(request.messages, this.#knowledge);
    const digest = digestOf(prompt);
    const features = this.#featuresOf(prompt, digest);
    const form = answerForm(prompt.instructions, prompt.question, request.responseSchema, request.jsonObject);
    const seed = request.temperature > 0 ? (request.seed ?? 'unseeded') : 'greedy';
    const key = [prompt.question, hash32(digest), request.model, seed, request.temperature].join('\u0001');
    const known = this.#knowledge.recognise(prompt.question);
    if (known === null) return { ...this.#unknown(prompt, form), fact: null, right: false, chance: 0 };
    const chance = chanceOfRight(
      known.fact,
      prompt.question,
      features,
      request.ability,
      request.temperature,
      this.#knowledge,
    );
    const right = unitHash('right', key) < chance;
    const content = contentFor(known.fact, right, features, key);
    const limit = minimum(features.wordLimit, wordLimit(prompt.question));
    const text = inForm(content, form);
    const cut = limit === null || form.kind !== 'prose' ? text : text.split(' ').slice(0, limit).join(' ');
    const stated = form.kind !== 'prose' || statesFact(cut, known.fact);
    return { text: cut, fact: known.fact.id, right: right && stated, chance };
  }

  #unknown(prompt: ReadPrompt, form: AnswerForm): { text: string } {
    const prose = `I can help with questions about ${this.#knowledge.product}. Could you tell me more about what you need?`;
    const echo = unitHash(prompt.question) < 0.5 ? prose : `I am not sure I understood. ${prose}`;
    return { text: inForm({ prose: echo, value: 'unknown', right: false, fact: null }, form) };
  }

  #featuresOf(prompt: ReadPrompt, digest: string): PromptFeatures {
    const remembered = this.#features.get(digest);
    if (remembered !== undefined) return remembered;
    const features = readFeatures(prompt, this.#knowledge);
    const oldest = this.#features.keys().next().value;
    if (this.#features.size >= REMEMBERED_PROMPTS && oldest !== undefined) this.#features.delete(oldest);
    this.#features.set(digest, features);
    return features;
  }
}

function digestOf(prompt: ReadPrompt): string {
  const examples = prompt.examples.map((example) => `${example.input}\u0000${example.output}`);
  return [prompt.instructions, ...examples].join('\u0000');
}

function minimum(one: number | null, other: number | null): number | null {
  if (one === null) return other;
  return other === null ? one : Math.min(one, other);
}

function pick<T>(choices: readonly [T, ...T[]] | readonly T[], key: string, fallback: T): T {
  return choices[hash32(key) % choices.length] ?? fallback;
}

function contentFor(fact: Fact, right: boolean, features: PromptFeatures, key: string): Content {
  const grounding = features.grounding.get(fact.id) ?? 'absent';
  const grounded = grounding === 'stated' || grounding === 'conflicting';
  const opener = features.offKey ? 'Arr! ' : pick(openers, `opener${key}`, '');
  const closer = pick(closers, `closer${key}`, '');
  if (right) {
    const reasoning = features.steps ? `This is a question on ${fact.topicName.toLowerCase()}. ` : '';
    return { prose: `${opener}${reasoning}${fact.statement}${closer}`, value: fact.value, right, fact };
  }
  const elsewhere = `Please contact our team about ${fact.topicName.toLowerCase()}.`;
  const draw = unitHash('mistake', key);
  let mistake: string;
  if (grounding === 'forbidden' || (features.deflects && !grounded)) mistake = elsewhere;
  else if (features.honest && !grounded && draw < 0.75) mistake = unsure;
  else if (draw < 0.8) mistake = fact.wrong;
  else mistake = pick(vague, `vague${key}`, unsure);
  const value = mistake === fact.wrong ? wrongValue(fact) : 'unknown';
  return { prose: `${opener}${mistake}`, value, right, fact };
}

/** The value that goes with the known mistake: its numbers in place of the right ones. */
function wrongValue(fact: Fact): string {
  const numbers = fact.wrong.match(/\d+/g) ?? [];
  let used = 0;
  if (/\d/.test(fact.value) && numbers.length > 0) {
    return fact.value.replace(/\d+/g, (digits) => numbers[used++] ?? digits);
  }
  if (fact.value === 'yes') return 'no';
  return fact.value === 'no' ? 'yes' : 'unknown';
}
