import { digestOf } from '../digest.ts';

/** A variable that a prompt's template may use; `input`, the last user message, is always there and never declared. */
export interface PromptVariable {
  name: string;
  description?: string | undefined;
  /** Used when the request does not give the variable; without it the request must. */
  default?: string | undefined;
}

export interface PromptExample {
  input: string;
  output: string;
}

/** Sampling parameters, in OpenAI's names; every one of them can change an answer. */
export interface ModelParameters {
  temperature?: number | undefined;
  top_p?: number | undefined;
  max_tokens?: number | undefined;
  stop?: string[] | undefined;
  seed?: number | undefined;
  presence_penalty?: number | undefined;
  frequency_penalty?: number | undefined;
}

/** What a prompt version says; immutable once pushed (invariant 9). */
export interface PromptContent {
  /** Mustache; rendered into the system message. Empty: no system message. */
  system: string;
  /** Mustache; rendered into the last user message. `{{input}}` is what the user wrote. */
  template: string;
  variables: PromptVariable[];
  /** Shown to the model as earlier turns of the conversation, in this order. */
  examples: PromptExample[];
  parameters: ModelParameters;
  /** JSON schema that an answer must satisfy; null: free text. */
  outputSchema: Record<string, unknown> | null;
}

export interface PromptVersion {
  name: string;
  version: number;
  digest: string;
  content: PromptContent;
}

/**
 * Covers every field that can change an answer, and neither name nor version. The schema goes in as text: the order of its properties
 * is the order in which an engine that decodes along it answers, and sorted keys would hide it.
 */
export function promptDigest(content: PromptContent): string {
  const outputSchema = content.outputSchema === null ? null : JSON.stringify(content.outputSchema);
  return digestOf({ kind: 'prompt', ...content, outputSchema });
}

/** `name@n`, as people and histories name a prompt version. */
export function promptRef(prompt: { name: string; version: number }): string {
  return `${prompt.name}@${prompt.version}`;
}
