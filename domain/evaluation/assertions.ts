import { Ajv, type ValidateFunction } from 'ajv';
import { SlipwayError } from '../errors.ts';

/** The assertions of promptfoo that Slipway knows; every one but `llm-rubric` also with `not-` before it. */
export const assertionTypes = [
  'equals',
  'not-equals',
  'contains',
  'not-contains',
  'icontains',
  'not-icontains',
  'regex',
  'not-regex',
  'is-json',
  'not-is-json',
  'contains-json',
  'not-contains-json',
  'llm-rubric',
] as const;
export type AssertionType = (typeof assertionTypes)[number];

export type JsonSchema = Record<string, unknown>;

export interface Assertion {
  type: AssertionType;
  /** A text; of the assertions about JSON, a JSON schema or nothing. */
  value?: string | JsonSchema | undefined;
  /** Of `llm-rubric`: the judge's score, 0–1, that suffices; .5 when left out. */
  threshold?: number | undefined;
  /** Share of the case's score; an assertion of weight 0 is reported and never fails the case. */
  weight: number;
}

export interface AssertionResult {
  passed: boolean;
  /** 0–1; 0 or 1 of all but `llm-rubric`. */
  score: number;
  /** Why it did not hold; null when it did. */
  reason: string | null;
}

export interface CaseVerdict {
  passed: boolean;
  /** Weighted mean of the assertions' scores, 0–1. */
  score: number;
  reasons: string[];
}

/** @throws SlipwayError GOLDEN_SET_INVALID when the value is none that the type can use. */
export function checkAssertion(
  assertion: { type: AssertionType; value?: unknown; threshold?: number | undefined; weight: number },
  field: string,
): Assertion {
  const { type, value, threshold } = assertion;
  const refuse = (problem: string, remedy: string, at = `${field}.value`) =>
    new SlipwayError('GOLDEN_SET_INVALID', `${at} ${problem}`, { field: at, remedy });
  if (threshold !== undefined && type !== 'llm-rubric') {
    throw refuse('is for llm-rubric only', 'Remove it', `${field}.threshold`);
  }
  if (type.endsWith('-json')) {
    if (value === undefined) return { ...assertion, value };
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw refuse('must be a JSON schema', 'Write the schema as an object, or leave the value out');
    }
    const schema = value as JsonSchema;
    try {
      validatorOf(schema);
    } catch (error) {
      throw refuse(`is not a JSON schema: ${messageOf(error)}`, 'Write a JSON schema of draft 7');
    }
    return { ...assertion, value: schema };
  }
  if (typeof value !== 'string') throw refuse('must be a text', 'Quote it');
  if (value === '' && type !== 'equals' && type !== 'not-equals') {
    throw refuse('is empty', 'Say what the answer must hold');
  }
  if (type.endsWith('regex')) {
    try {
      new RegExp(value);
    } catch (error) {
      throw refuse(
        `is no regular expression: ${messageOf(error)}`,
        "Write a regular expression of JavaScript's",
      );
    }
  }
  return { ...assertion, value };
}

/** The result of an assertion that needs no judge. */
export function assertOutput(assertion: Assertion, output: string): AssertionResult {
  const negated = assertion.type.startsWith('not-');
  const problem = problemWith(assertion, negated ? assertion.type.slice(4) : assertion.type, output);
  const passed = (problem === null) !== negated;
  return {
    passed,
    score: passed ? 1 : 0,
    reason: passed ? null : negated ? `${assertion.type}: the answer does` : `${assertion.type}: ${problem}`,
  };
}

/** The result of an `llm-rubric` whose judge gave this score. */
export function assertScore(assertion: Assertion, score: number, rationale: string | null): AssertionResult {
  const threshold = assertion.threshold ?? 0.5;
  const passed = score >= threshold;
  const why = rationale === null ? '' : `: ${rationale}`;
  return { passed, score, reason: passed ? null : `llm-rubric: scored ${score}, needs ${threshold}${why}` };
}

/** What a case's assertions amount to, by promptfoo's rule: all must hold, or the weighted score must reach the case's threshold. */
export function judgeCase(
  assertions: readonly Assertion[],
  results: readonly AssertionResult[],
  threshold: number | null,
): CaseVerdict {
  let [weights, total, passed] = [0, 0, true];
  const reasons: string[] = [];
  for (const [index, result] of results.entries()) {
    const weight = assertions[index]?.weight ?? 1;
    weights += weight;
    total += weight * result.score;
    if (weight > 0 && !result.passed) passed = false;
    if (result.reason !== null) reasons.push(result.reason);
  }
  const score = weights === 0 ? 1 : total / weights;
  return { passed: threshold === null ? passed : score >= threshold, score, reasons };
}

/** What is wrong with the output, or null. */
function problemWith({ value }: Assertion, type: string, output: string): string | null {
  const text = typeof value === 'string' ? value : '';
  const schema = typeof value === 'object' ? value : undefined;
  switch (type) {
    case 'equals':
      return output === text ? null : `the answer is not ${quoted(text)}`;
    case 'contains':
      return output.includes(text) ? null : `the answer lacks ${quoted(text)}`;
    case 'icontains':
      return output.toLowerCase().includes(text.toLowerCase()) ? null : `the answer lacks ${quoted(text)}`;
    case 'regex':
      return new RegExp(text).test(output) ? null : `the answer does not match ${text}`;
    case 'is-json':
      return jsonProblem(output, schema);
    case 'contains-json': {
      const problems = jsonParts(output).map((part) => jsonProblem(part, schema));
      return problems.includes(null) ? null : (problems[0] ?? 'the answer holds no JSON');
    }
    default:
      throw new TypeError(`${type} needs a judge`);
  }
}

function jsonProblem(text: string, schema: JsonSchema | undefined): string | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `the answer is not JSON: ${messageOf(error)}`;
  }
  if (schema === undefined) return null;
  const validate = validatorOf(schema);
  if (validate(value)) return null;
  const first = validate.errors?.[0];
  return `the JSON does not satisfy the schema: ${first?.instancePath || 'it'} ${first?.message ?? ''}`.trim();
}

/** The objects and arrays that stand in a text, outermost ones only, by matching their brackets outside of strings. */
function jsonParts(text: string): string[] {
  const parts: string[] = [];
  for (let start = 0; start < text.length; start += 1) {
    if (text[start] !== '{' && text[start] !== '[') continue;
    const end = closingBracket(text, start);
    if (end === -1) continue;
    const part = text.slice(start, end + 1);
    if (jsonProblem(part, undefined) !== null) continue;
    parts.push(part);
    start = end;
  }
  return parts;
}

function closingBracket(text: string, start: number): number {
  let [depth, inString] = [0, false];
  for (let i = start; i < text.length; i += 1) {
    const character = text[i];
    if (inString) {
      if (character === '\\') i += 1;
      else if (character === '"') inString = false;
    } else if (character === '"') inString = true;
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') {
      depth -= 1;
      if (depth === 0) return i;
    }
  }
  return -1;
}

const validators = new WeakMap<JsonSchema, ValidateFunction>();

function validatorOf(schema: JsonSchema): ValidateFunction {
  let validate = validators.get(schema);
  if (validate === undefined) {
    validate = new Ajv({ strict: false }).compile(schema);
    validators.set(schema, validate);
  }
  return validate;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 59)}…` : text);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
