import { hash32 } from './hash.ts';
import type { Fact } from './knowledge.ts';

/** The form in which an answer was asked for. */
export type AnswerForm =
  | { kind: 'prose' }
  | { kind: 'value' }
  | { kind: 'keys'; keys: string[] }
  | { kind: 'schema'; schema: JsonSchema };

export interface JsonSchema {
  type?: string | string[] | undefined;
  enum?: unknown[] | undefined;
  const?: unknown;
  properties?: Record<string, JsonSchema> | undefined;
  items?: JsonSchema | undefined;
  description?: string | undefined;
  [keyword: string]: unknown;
}

const valueOnly =
  /\b(only|just|nothing but)\b[^.\n]{0,20}\b(the|a|one)? ?(number|value|figure|name|amount)\b|\b(number|value|figure|name|amount) (only|and nothing else)\b/i;
const json = /\bjson\b/i;
const keyList = /\b(?:keys?|fields?|propert(?:y|ies))\b:? ([^.\n?]+)/i;

/** Reads the demanded form from the instructions and the question; an explicit response format of the request wins. */
export function answerForm(
  instructions: string,
  question: string,
  schema: JsonSchema | null,
  jsonObject: boolean,
): AnswerForm {
  if (schema !== null) return { kind: 'schema', schema };
  for (const text of [question, instructions]) {
    if (json.test(text)) return { kind: 'keys', keys: keysIn(text) };
    if (valueOnly.test(text)) return { kind: 'value' };
  }
  return jsonObject ? { kind: 'keys', keys: ['answer'] } : { kind: 'prose' };
}

function keysIn(text: string): string[] {
  const quoted = [...text.matchAll(/["`'](\w+)["`']\s*:?/g)].map((match) => match[1] ?? '');
  if (quoted.length > 0) return [...new Set(quoted)];
  const listed = keyList.exec(text)?.[1]?.match(/\b[a-z]\w*\b/g) ?? [];
  const keys = listed.filter((word) => word !== 'and' && word !== 'or' && word !== 'with');
  return keys.length > 0 ? [...new Set(keys)] : ['answer'];
}

export interface Content {
  prose: string;
  value: string;
  right: boolean;
  fact: Fact | null;
}

export function inForm(content: Content, form: AnswerForm): string {
  switch (form.kind) {
    case 'prose':
      return content.prose;
    case 'value':
      return content.value;
    case 'keys':
      return JSON.stringify(
        Object.fromEntries(form.keys.map((key) => [key, fieldNamed(key, undefined, content)])),
      );
    case 'schema':
      return JSON.stringify(filled(form.schema, 'answer', content));
  }
}

/** A value that satisfies the schema, as far as types, enums and properties go; names decide which part of the answer goes where. */
export function filled(schema: JsonSchema, name: string, content: Content): unknown {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return choiceOf(schema.enum, content);
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== 'null') : schema.type;
  if (type === 'object' || schema.properties !== undefined) {
    return Object.fromEntries(
      Object.entries(schema.properties ?? {}).map(([key, inner]) => [key, filled(inner, key, content)]),
    );
  }
  if (type === 'array') return schema.items === undefined ? [] : [filled(schema.items, name, content)];
  if (type === 'null') return null;
  return fieldNamed(name, type, content);
}

function choiceOf(choices: unknown[], content: Content): unknown {
  const topic = content.fact?.topic ?? '';
  const named = choices.find((choice) => typeof choice === 'string' && choice.toLowerCase() === topic);
  return named ?? choices[hash32(content.prose) % choices.length];
}

function fieldNamed(name: string, type: string | undefined, content: Content): unknown {
  if (type === 'boolean') return content.right;
  if (/^confidence|^score/.test(name)) return content.right ? 0.9 : 0.4;
  const number = Number(/\d+(\.\d+)?/.exec(content.value)?.[0] ?? Number.NaN);
  if (type === 'integer' || type === 'number') {
    const given = Number.isNaN(number) ? 0 : number;
    return type === 'integer' ? Math.trunc(given) : given;
  }
  if (/^(topic|category|intent|subject)$/.test(name)) return content.fact?.topic ?? 'other';
  if (/^(answer|text|reply|message|response|content|explanation)$/.test(name)) return content.prose;
  if (type === undefined && !Number.isNaN(number)) return number;
  return content.value;
}
