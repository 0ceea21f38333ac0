import { type ErrorCode, SlipwayError } from '../domain/errors.ts';
import { checkStorable } from '../domain/storable.ts';
import type { Queryable } from './database.ts';

/** An immutable, numbered document: prompts, golden sets and guardrail configs are stored alike, each kind in its own table. */
export interface DocumentVersion<C> {
  name: string;
  /** From 1 on, without gaps. */
  version: number;
  digest: string;
  content: C;
}

export interface DocumentListing {
  name: string;
  version: number;
  digest: string;
  createdBy: string;
  createdAt: Date;
}

export interface NewDocument<C> {
  name: string;
  digest: string;
  content: C;
  createdBy: string;
}

export interface PushedDocument<C> extends DocumentVersion<C> {
  /** False when the same content was there before. */
  created: boolean;
}

export interface DocumentKind<C> {
  table: 'prompt_versions' | 'golden_sets' | 'guardrail_configs';
  /** For messages and remedies: `prompt`, `golden set`. */
  noun: string;
  /** The input that holds a reference to one, for errors. */
  field: string;
  notFound: ErrorCode;
  invalid: ErrorCode;
  digestOf: (content: C) => string;
  /** Throws for a content that may not be pushed. */
  check?: (content: C) => void;
}

export interface DocumentStore<C> {
  /**
   * Makes a version of the document; pushing the same content again returns the version that it already has.
   * @throws SlipwayError the kind's `invalid`, and what its check throws
   */
  push(db: Queryable, document: { name: string; content: C; createdBy: string }): Promise<PushedDocument<C>>;
  /** @param reference `name@n` or a digest. @throws SlipwayError the kind's `notFound` */
  get(db: Queryable, reference: string): Promise<DocumentVersion<C>>;
  /** Names in alphabetical order, each with its newest version first. */
  list(db: Queryable, name?: string): Promise<DocumentListing[]>;
}

export function documentStore<C>(kind: DocumentKind<C>): DocumentStore<C> {
  return {
    push: async (db, document) => {
      kind.check?.(document.content);
      return pushDocument(db, kind, { ...document, digest: kind.digestOf(document.content) });
    },
    get: (db, reference) => getDocument(db, kind, reference),
    list: (db, name) => listDocuments(db, kind, name),
  };
}

/** Stores the content as the next version of its name, or returns the version that has the same digest already, whoever races. */
async function pushDocument<C>(
  db: Queryable,
  { table, invalid }: DocumentKind<C>,
  { name, digest, content, createdBy }: NewDocument<C>,
): Promise<PushedDocument<C>> {
  checkStorable(content, invalid);
  // Whoever loses the race for a version number looks again: each turn of the loop means that another push has succeeded.
  for (;;) {
    const { rows: existing } = await db.query<DocumentVersion<C>>(
      `select name, version, digest, content from ${table} where name = $1 and digest = $2`,
      [name, digest],
    );
    if (existing[0] !== undefined) return { ...existing[0], created: false };
    const { rows: inserted } = await db.query<DocumentVersion<C>>(
      `insert into ${table} (name, version, digest, content, created_by)
       select $1::text, coalesce(max(version), 0) + 1, $2::text, $3::json, $4::text from ${table} where name = $1
       on conflict do nothing
       returning name, version, digest, content`,
      [name, digest, JSON.stringify(content), createdBy],
    );
    if (inserted[0] !== undefined) return { ...inserted[0], created: true };
  }
}

async function getDocument<C>(
  db: Queryable,
  { table, noun, field, notFound }: DocumentKind<C>,
  reference: string,
): Promise<DocumentVersion<C>> {
  const at = reference.lastIndexOf('@');
  const byDigest = reference.startsWith('sha256:');
  const version = reference.slice(at + 1);
  if (byDigest || (at > 0 && /^[1-9]\d{0,8}$/.test(version))) {
    // Two names may hold the same content; by digest any of them is as good, and the first is always the same one.
    const { rows } = await db.query<DocumentVersion<C>>(
      byDigest
        ? `select name, version, digest, content from ${table} where digest = $1 order by name, version limit 1`
        : `select name, version, digest, content from ${table} where name = $1 and version = $2`,
      byDigest ? [reference] : [reference.slice(0, at), Number(version)],
    );
    if (rows[0] !== undefined) return rows[0];
  }
  throw new SlipwayError(notFound, `there is no ${noun} ${reference}`, {
    field,
    value: reference,
    remedy: `Name a pushed ${noun} as name@version, e.g. answers@3`,
  });
}

async function listDocuments<C>(
  db: Queryable,
  { table }: DocumentKind<C>,
  name?: string,
): Promise<DocumentListing[]> {
  const { rows } = await db.query<DocumentListing>(
    `select name, version, digest, created_by as "createdBy", created_at as "createdAt" from ${table}
      where $1::text is null or name = $1 order by name, version desc`,
    [name ?? null],
  );
  return rows;
}
