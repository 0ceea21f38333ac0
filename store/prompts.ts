import { checkPrompt } from '../domain/prompt/check.ts';
import { type PromptContent, type PromptVersion, promptDigest } from '../domain/prompt/prompt.ts';
import type { Queryable } from './database.ts';
import {
  type DocumentKind,
  type DocumentListing,
  getDocument,
  listDocuments,
  type PushedDocument,
  pushDocument,
} from './documents.ts';

const prompts: DocumentKind = {
  table: 'prompt_versions',
  noun: 'prompt',
  notFound: 'PROMPT_NOT_FOUND',
  invalid: 'PROMPT_INVALID',
};

/**
 * Makes a version of the prompt; pushing the same content again returns the version that it already has.
 * @throws SlipwayError PROMPT_INVALID, PROMPT_VARIABLE_UNKNOWN
 */
export async function pushPrompt(
  db: Queryable,
  prompt: { name: string; content: PromptContent; createdBy: string },
): Promise<PushedDocument<PromptContent>> {
  checkPrompt(prompt.content);
  return pushDocument(db, prompts, { ...prompt, digest: promptDigest(prompt.content) });
}

/** @param reference `name@n` or a digest. @throws SlipwayError PROMPT_NOT_FOUND */
export async function getPrompt(db: Queryable, reference: string): Promise<PromptVersion> {
  return getDocument<PromptContent>(db, prompts, reference, 'prompt');
}

export async function listPrompts(db: Queryable, name?: string): Promise<DocumentListing[]> {
  return listDocuments(db, prompts, name);
}
