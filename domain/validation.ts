import { parseDocument } from 'yaml';
import { z } from 'zod';
import { durationPattern, formatDuration, parseDuration } from './duration.ts';
import { type ErrorCode, SlipwayError } from './errors.ts';

type Path = readonly PropertyKey[];
type Schema = z.core.$ZodType;
type Issue = z.core.$ZodIssue;

/** What a schema says to people about a value that it refuses: which code the error has, and what to do. */
export const hints = z.registry<{ code?: ErrorCode; remedy?: string }>();

/** A duration ≥ 0 in milliseconds, written as `90s`, `5m`, `12h` or `7d`. */
export const duration = durationOf(0);
/** A duration > 0. */
export const positiveDuration = durationOf(1);

function durationOf(minimum: number) {
  const schema = z.codec(
    z.string().regex(durationPattern, 'must be a duration'),
    z.number().int().min(minimum),
    {
      decode: (text, context) => {
        const ms = parseDuration(text);
        if (ms !== null) return ms;
        context.issues.push({ code: 'custom', message: 'is longer than can be counted', input: text });
        return z.NEVER;
      },
      encode: formatDuration,
    },
  );
  hints.add(schema, {
    remedy: `Write a number and a unit, e.g. 90s, 5m, 12h or 7d${minimum > 0 ? ', more than 0' : ''}`,
  });
  return schema;
}

/** `gate.metrics[0].margin`: a path as people write it; the empty path is the whole input. */
export function fieldName(path: Path): string {
  return path.reduce<string>((name, part) => {
    if (typeof part === 'number') return `${name}[${part}]`;
    return name === '' ? String(part) : `${name}.${String(part)}`;
  }, '');
}

/** What stands at the path in the input; undefined when the input has nothing there. */
function valueAt(input: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (value, part) =>
      value !== null && typeof value === 'object' ? (value as Record<PropertyKey, unknown>)[part] : undefined,
    input,
  );
}

/** Long values say nothing to a reader, and may be texts that errors must not carry. */
function showable(value: unknown): unknown {
  return (JSON.stringify(value) ?? '').length <= 120 ? value : undefined;
}

/** The schemas that judge the path's values, from the outermost on; ends early where the path leaves plain objects and arrays. */
function schemasAlong(schema: Schema, path: Path): Schema[] {
  const along: Schema[] = [];
  let at: Schema | undefined = schema;
  for (const part of [...path, null]) {
    while (at !== undefined) {
      along.push(at);
      at = 'innerType' in at._zod.def ? (at._zod.def.innerType as Schema) : undefined;
    }
    const inner = along.at(-1);
    if (part === null) break;
    if (inner instanceof z.ZodObject) at = inner.shape[String(part)] as Schema | undefined;
    else if (inner instanceof z.ZodArray) at = inner.element as Schema;
    else if (inner instanceof z.ZodRecord) at = inner.valueType as Schema;
    if (at === undefined) break;
  }
  return along;
}

const hintOf = (schema: Schema) => hints.get(schema as z.ZodType);

function what(issue: Issue, missing: boolean): string {
  if (issue.code === 'unrecognized_keys') return 'is not known here';
  if (missing) return 'is missing';
  switch (issue.code) {
    case 'invalid_type':
      return `must be of type ${issue.expected}`;
    case 'invalid_value':
      return `must be one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
    case 'too_big': {
      const [least, most] = issue.inclusive === false ? ['more than', 'less than'] : ['at least', 'at most'];
      const bound = issue.code === 'too_small' ? `${least} ${issue.minimum}` : `${most} ${issue.maximum}`;
      const of = issue.origin === 'string' ? ' characters' : issue.origin === 'array' ? ' items' : '';
      return `must ${of === '' ? 'be' : 'have'} ${bound}${of}`;
    }
    default:
      return issue.message;
  }
}

function remedyOf(issue: Issue, along: Schema[], missing: boolean): string {
  if (issue.code === 'custom' && typeof issue.params?.remedy === 'string') return issue.params.remedy;
  const owner = along.at(-1);
  if (issue.code === 'unrecognized_keys') {
    return owner instanceof z.ZodObject
      ? `Remove it, or use one of: ${Object.keys(owner.shape).join(', ')}`
      : 'Remove it';
  }
  const remedy = owner === undefined ? undefined : along.map(hintOf).findLast((hint) => hint?.remedy)?.remedy;
  if (remedy !== undefined) return remedy;
  if (missing) return 'Give it';
  return `Give a value that ${what(issue, false)}`;
}

/**
 * The error that a person reads for what zod found: the first problem in full, the others counted.
 * `code` stands where no schema along the field's path has one of its own in `hints`.
 */
export function problemOf(schema: Schema, issues: readonly Issue[], input: unknown, code: ErrorCode) {
  const issue = issues[0];
  if (issue === undefined) throw new TypeError('a refusal by zod has at least one issue');
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, ...issue.keys.slice(0, 1)] : issue.path;
  const along = schemasAlong(schema, issue.path);
  const field = fieldName(path);
  const value = valueAt(input, path);
  const missing = value === undefined;
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
  return new SlipwayError(
    along.map(hintOf).findLast((hint) => hint?.code)?.code ?? code,
    `${field === '' ? 'the input' : field} ${what(issue, missing)}${more}`,
    { field, value: showable(value), remedy: remedyOf(issue, along, missing) },
  );
}

/**
 * The value that the schema makes of the input.
 * @throws SlipwayError with this code, naming field, value and remedy
 */
export function validate<S extends z.ZodType>(schema: S, input: unknown, code: ErrorCode): z.output<S> {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  throw problemOf(schema, result.error.issues, input, code);
}

/**
 * The value of one YAML document (JSON is YAML); keys given twice are refused. `language`: what the author of the file takes it for.
 * @throws SlipwayError with this code, naming line and column
 */
export function parseYaml(text: string, code: ErrorCode, language: 'YAML' | 'JSON' = 'YAML'): unknown {
  const document = parseDocument(text, { uniqueKeys: true, prettyErrors: false });
  const error = document.errors[0];
  if (error === undefined) return document.toJS() as unknown;
  const before = text.slice(0, error.pos[0]).split('\n');
  const line = before.length;
  const column = (before.at(-1) ?? '').length + 1;
  throw new SlipwayError(code, `not ${language}: ${error.message}`, {
    field: `line ${line}, column ${column}`,
    remedy: `Correct the ${language} there`,
  });
}
