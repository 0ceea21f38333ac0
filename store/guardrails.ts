import { type GuardrailsContent, guardrailsDigest } from '../domain/guardrails/guardrails.ts';
import type { Queryable } from './database.ts';
import {
  type DocumentKind,
  type DocumentListing,
  type DocumentVersion,
  getDocument,
  listDocuments,
  type PushedDocument,
  pushDocument,
} from './documents.ts';

const guardrails: DocumentKind = {
  table: 'guardrail_configs',
  noun: 'guardrail config',
  notFound: 'GUARDRAILS_NOT_FOUND',
  invalid: 'INPUT_INVALID',
};

/** Makes a version of the guardrail config; pushing the same content again returns the version that it already has. */
export async function pushGuardrails(
  db: Queryable,
  config: { name: string; content: GuardrailsContent; createdBy: string },
): Promise<PushedDocument<GuardrailsContent>> {
  return pushDocument(db, guardrails, { ...config, digest: guardrailsDigest(config.content) });
}

/** @param reference `name@n` or a digest. @throws SlipwayError GUARDRAILS_NOT_FOUND */
export async function getGuardrails(
  db: Queryable,
  reference: string,
): Promise<DocumentVersion<GuardrailsContent>> {
  return getDocument<GuardrailsContent>(db, guardrails, reference, 'guardrails');
}

export async function listGuardrails(db: Queryable, name?: string): Promise<DocumentListing[]> {
  return listDocuments(db, guardrails, name);
}
