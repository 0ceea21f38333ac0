import { z } from 'zod';
import { SlipwayError } from '../errors.ts';
import { parseYaml, validate } from '../validation.ts';
import type { PromptContent } from './prompt.ts';

/** Names of prompts, golden sets and guardrail configs: what may stand before the @ of `name@n`. */
export const documentName = z
  .string()
  .regex(/^[a-z0-9][a-z0-9._-]{0,62}$/, 'must be lower case letters, digits, ., _ or -, at most 63 of them');

const contentFields = {
  system: z.string().default(''),
  template: z.string().min(1),
  variables: z
    .array(
      z.strictObject({
        name: z.string(),
        description: z.string().optional(),
        default: z.string().optional(),
      }),
    )
    .default([]),
  examples: z.array(z.strictObject({ input: z.string(), output: z.string() })).default([]),
  parameters: z
    .strictObject({
      temperature: z.number().min(0).max(2).optional(),
      top_p: z.number().gt(0).max(1).optional(),
      max_tokens: z.int().positive().optional(),
      stop: z.array(z.string().min(1)).max(4).optional(),
      seed: z.int().optional(),
      presence_penalty: z.number().min(-2).max(2).optional(),
      frequency_penalty: z.number().min(-2).max(2).optional(),
    })
    .default({}),
  // As it came, with the order of its properties: an engine that decodes along the schema answers in that order.
  outputSchema: z
    .custom<Record<string, unknown>>(
      (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
      'must be a JSON schema, as an object',
    )
    .nullable()
    .default(null),
};

/** A prompt as it is pushed: JSON of the API, or what `parsePromptFile` made of a file. */
export const promptContentSchema = z.strictObject(contentFields);
const promptFileSchema = z.strictObject({ name: documentName, ...contentFields });

export interface NamedPrompt {
  name: string;
  content: PromptContent;
}

/** @throws SlipwayError PROMPT_INVALID naming the field */
export function parsePromptContent(value: unknown): PromptContent {
  return validate(promptContentSchema, value, 'PROMPT_INVALID');
}

/**
 * Reads a prompt file: YAML front matter between two lines `---`, with the fields `name`, `system`, `variables`, `examples`,
 * `parameters` and `outputSchema`, and the template as everything after it, character by character; or plain YAML with the template
 * as the field `template`. Unknown fields are refused: what a file says and a digest does not cover would be lost.
 * @throws SlipwayError PROMPT_INVALID naming the field
 */
export function parsePromptFile(text: string): NamedPrompt {
  const source = text.startsWith('\uFEFF') ? text.slice(1) : text;
  const frontMatter = /^---[ \t]*\r?\n([\s\S]*?\r?\n)?---[ \t]*(?:\r?\n|$)/.exec(source);
  let fields: unknown;
  if (frontMatter === null) {
    fields = parseYaml(source, 'PROMPT_INVALID');
  } else {
    const head = parseYaml(`\n${frontMatter[1] ?? ''}`, 'PROMPT_INVALID');
    if (typeof head === 'object' && head !== null && 'template' in head) {
      throw invalid(
        'template',
        'stands in the front matter',
        'Put it after the second ---, or write plain YAML',
      );
    }
    fields = { ...(head as object | null), template: source.slice(frontMatter[0].length) };
  }
  const { name, ...content } = validate(promptFileSchema, fields, 'PROMPT_INVALID');
  return { name, content };
}

function invalid(field: string, problem: string, remedy: string): SlipwayError {
  return new SlipwayError('PROMPT_INVALID', `${field} ${problem}`, { field, remedy });
}
