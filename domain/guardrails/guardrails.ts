import { z } from 'zod';
import { digestOf } from '../digest.ts';
import { documentName } from '../prompt/parse.ts';
import { parseYaml, validate } from '../validation.ts';

/** One check of a guardrail config: its type, and settings of its own. */
export interface GuardrailCheck {
  type: string;
  [setting: string]: unknown;
}

/** A guardrail config: named, versioned and part of the revision's digest. */
export interface GuardrailsContent {
  /** Checks of what users write, in this order. */
  input: GuardrailCheck[];
  /** Checks of what the model answers, in this order. */
  output: GuardrailCheck[];
}

const check = z.looseObject({ type: z.string().min(1) });
const contentFields = { input: z.array(check).default([]), output: z.array(check).default([]) };
const contentSchema = z.strictObject(contentFields);
const fileSchema = z.strictObject({ name: documentName, ...contentFields });

export function guardrailsDigest(content: GuardrailsContent): string {
  return digestOf({ kind: 'guardrails', ...content });
}

/** @throws SlipwayError INPUT_INVALID */
export function parseGuardrailsContent(value: unknown): GuardrailsContent {
  return validate(contentSchema, value, 'INPUT_INVALID');
}

/** Reads YAML `{ name, input, output }`. @throws SlipwayError INPUT_INVALID */
export function parseGuardrailsFile(text: string): { name: string; content: GuardrailsContent } {
  const { name, ...content } = validate(fileSchema, parseYaml(text, 'INPUT_INVALID'), 'INPUT_INVALID');
  return { name, content };
}
