import { z } from 'zod';
import { digestOf } from '../digest.ts';
import { SlipwayError } from '../errors.ts';
import { documentName } from '../prompt/parse.ts';
import { parseYaml, validate } from '../validation.ts';
import { type Assertion, assertionTypes, checkAssertion } from './assertions.ts';

/** One question of a golden set, with what must hold of the answer. */
export interface GoldenCase {
  /** For people; it names the case in reports. */
  description: string | null;
  /** `input` is the user's message; the others are the prompt's variables. */
  vars: Record<string, string>;
  assert: Assertion[];
  /** Weighted share of the assertions, 0–1, that suffices; null: every one must hold. */
  threshold: number | null;
}

export interface GoldenSetContent {
  cases: GoldenCase[];
}

const share = z.number().min(0).max(1);

const assertionSchema = z.strictObject({
  type: z.enum(assertionTypes),
  value: z.unknown().optional(),
  threshold: share.optional(),
  weight: z.number().min(0).default(1),
});

const caseSchema = z.strictObject({
  description: z.string().nullable().default(null),
  vars: z.record(z.string(), z.string()),
  assert: z.array(assertionSchema).min(1),
  threshold: share.nullable().default(null),
});

const listSchema = z.array(caseSchema);
const fileSchema = z.strictObject({
  name: documentName.optional(),
  description: z.string().optional(),
  tests: listSchema,
});

/** Covers every case; neither name nor version. */
export function goldenSetDigest(content: GoldenSetContent): string {
  return digestOf({ kind: 'golden-set', ...content });
}

/**
 * Reads a golden set in promptfoo's test format, from YAML or JSON: a list of tests, or `{ name, description, tests }`. A test has `vars` (with
 * `input`, the user's message; all of them texts), `assert`, and optionally `description` and `threshold`. Of promptfoo's assertions
 * there are those of `assertionTypes`; their values are taken as they are, without templating. Everything else is refused: a test that
 * is silently not made would count as passed.
 * @throws SlipwayError GOLDEN_SET_INVALID, GOLDEN_SET_EMPTY
 */
export function parseGoldenSet(text: string): { name: string | null; content: GoldenSetContent } {
  const value = parseYaml(text, 'GOLDEN_SET_INVALID');
  if (value === null) throw empty();
  if (Array.isArray(value)) {
    return { name: null, content: checked(validate(listSchema, value, 'GOLDEN_SET_INVALID'), '') };
  }
  const file = validate(fileSchema, value, 'GOLDEN_SET_INVALID');
  return { name: file.name ?? null, content: checked(file.tests, 'tests') };
}

/** A golden set as the API takes it. @throws SlipwayError GOLDEN_SET_INVALID, GOLDEN_SET_EMPTY */
export function parseGoldenSetContent(value: unknown): GoldenSetContent {
  const { cases } = validate(z.strictObject({ cases: listSchema }), value, 'GOLDEN_SET_INVALID');
  return checked(cases, 'cases');
}

function checked(cases: z.output<typeof listSchema>, field: string): GoldenSetContent {
  if (cases.length === 0) throw empty();
  return {
    cases: cases.map((test, index) => {
      const at = `${field}[${index}]`;
      if (test.vars.input === undefined) {
        throw new SlipwayError('GOLDEN_SET_INVALID', `${at}.vars has no input`, {
          field: `${at}.vars.input`,
          remedy: "Give vars.input: it is the user's message",
        });
      }
      return {
        ...test,
        assert: test.assert.map((assertion, i) => checkAssertion(assertion, `${at}.assert[${i}]`)),
      };
    }),
  };
}

function empty(): SlipwayError {
  return new SlipwayError('GOLDEN_SET_EMPTY', 'the golden set holds no case', {
    field: 'tests',
    remedy: 'Add at least one test: an evaluation of nothing would pass everything',
  });
}
