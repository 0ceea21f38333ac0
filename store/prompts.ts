import { checkPrompt } from '../domain/prompt/check.ts';
import { type PromptContent, promptDigest } from '../domain/prompt/prompt.ts';
import { documentStore } from './documents.ts';

export const {
  push: pushPrompt,
  get: getPrompt,
  list: listPrompts,
} = documentStore<PromptContent>({
  table: 'prompt_versions',
  noun: 'prompt',
  field: 'prompt',
  notFound: 'PROMPT_NOT_FOUND',
  invalid: 'PROMPT_INVALID',
  digestOf: promptDigest,
  check: checkPrompt,
});
