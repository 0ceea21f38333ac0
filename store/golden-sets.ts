import { type GoldenSetContent, goldenSetDigest } from '../domain/evaluation/golden.ts';
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

const goldenSets: DocumentKind = {
  table: 'golden_sets',
  noun: 'golden set',
  notFound: 'GOLDEN_SET_NOT_FOUND',
  invalid: 'GOLDEN_SET_INVALID',
};

/** Makes a version of the golden set; pushing the same content again returns the version that it already has. */
export async function pushGoldenSet(
  db: Queryable,
  set: { name: string; content: GoldenSetContent; createdBy: string },
): Promise<PushedDocument<GoldenSetContent>> {
  return pushDocument(db, goldenSets, { ...set, digest: goldenSetDigest(set.content) });
}

/** @param reference `name@n` or a digest. @throws SlipwayError GOLDEN_SET_NOT_FOUND */
export async function getGoldenSet(
  db: Queryable,
  reference: string,
): Promise<DocumentVersion<GoldenSetContent>> {
  return getDocument<GoldenSetContent>(db, goldenSets, reference, 'goldenSet');
}

export async function listGoldenSets(db: Queryable, name?: string): Promise<DocumentListing[]> {
  return listDocuments(db, goldenSets, name);
}
