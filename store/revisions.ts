import { SlipwayError } from '../domain/errors.ts';
import type { Revision } from '../domain/revision.ts';
import type { Queryable } from './database.ts';

/** Stores a revision under its digest; storing it again changes nothing. */
export async function saveRevision(db: Queryable, revision: Revision): Promise<void> {
  await db.query('insert into revisions (digest, content) values ($1, $2) on conflict (digest) do nothing', [
    revision.digest,
    JSON.stringify(revision),
  ]);
}

export async function findRevision(db: Queryable, digest: string): Promise<Revision | null> {
  const { rows } = await db.query<{ content: Revision }>('select content from revisions where digest = $1', [
    digest,
  ]);
  return rows[0]?.content ?? null;
}

/**
 * The revision whose digest begins so; `prefix` is `sha256:` and at least 12 hex digits.
 * @throws SlipwayError NOT_FOUND, INPUT_INVALID when several begin so
 */
export async function getRevisionByPrefix(db: Queryable, prefix: string): Promise<Revision> {
  const { rows } = await db.query<{ content: Revision }>(
    'select content from revisions where starts_with(digest, $1) limit 2',
    [prefix],
  );
  const [revision, other] = rows;
  if (revision === undefined) throw noRevision(prefix);
  if (other === undefined) return revision.content;
  throw new SlipwayError('INPUT_INVALID', `several revisions begin with ${prefix}`, {
    field: 'revision',
    value: prefix,
    remedy: 'Give more digits of the digest',
  });
}

/** @throws SlipwayError NOT_FOUND */
export async function getRevision(db: Queryable, digest: string): Promise<Revision> {
  const revision = await findRevision(db, digest);
  if (revision === null) throw noRevision(digest);
  return revision;
}

function noRevision(digest: string): SlipwayError {
  return new SlipwayError('NOT_FOUND', `there is no revision ${digest}`, {
    field: 'revision',
    value: digest,
    remedy: 'A release registers its revisions; slipway release get shows their digests',
  });
}
