import { digestOf } from '../domain/digest.ts';
import { SlipwayError } from '../domain/errors.ts';
import type { ReleaseSpec } from '../domain/release/spec.ts';
import type { Phase, Stage } from '../domain/words.ts';
import type { Queryable, Transaction } from './database.ts';

export interface ReleaseRow {
  id: string;
  application: string;
  workflowId: string;
  requester: string;
  spec: string;
  candidate: string;
  stable: string | null;
  createdAt: Date;
  stage: Stage;
  phase: Phase;
  reason: string | null;
  canarySince: Date | null;
  endedAt: Date | null;
}

const columns = `id, application, workflow_id as "workflowId", requester, spec, candidate, stable, created_at as "createdAt",
  stage, phase, reason, canary_since as "canarySince", ended_at as "endedAt"`;

/** Stores what was asked for, under its digest; storing it again changes nothing. */
export async function saveSpec(db: Queryable, spec: ReleaseSpec): Promise<string> {
  const digest = digestOf({ kind: 'release-spec', ...spec });
  await db.query(
    'insert into release_specs (digest, content) values ($1, $2) on conflict (digest) do nothing',
    [digest, JSON.stringify(spec)],
  );
  return digest;
}

/** @throws SlipwayError NOT_FOUND */
export async function loadSpec(db: Queryable, digest: string): Promise<ReleaseSpec> {
  const { rows } = await db.query<{ content: ReleaseSpec }>(
    'select content from release_specs where digest = $1',
    [digest],
  );
  const row = rows[0];
  if (row === undefined) {
    throw new SlipwayError('NOT_FOUND', `no release spec has the digest ${digest}`, {
      field: 'spec',
      value: digest,
      remedy:
        "Leave it out to take the application's last one, or start the release from a file, which stores it",
    });
  }
  return row.content;
}

/** The spec of the application's last release, which a release started without one takes its policy from. */
export async function lastSpec(db: Queryable, application: string): Promise<ReleaseSpec | null> {
  const { rows } = await db.query<{ content: ReleaseSpec }>(
    `select s.content from releases r join release_specs s on s.digest = r.spec
      where r.application = $1 order by r.created_at desc limit 1`,
    [application],
  );
  return rows[0]?.content ?? null;
}

export interface NewRelease {
  id: string;
  application: string;
  workflowId: string;
  requester: string;
  spec: string;
  candidate: string;
  stable: string | null;
}

/** The event that ends a release; it stands also for one that was ended before it was claimed. */
const ENDED = 'ended';

/** Claim and end of a release come one after the other: what the one has written, the other sees. */
async function lockRelease(tx: Transaction, id: string): Promise<void> {
  await tx.query(`select pg_advisory_xact_lock(hashtextextended('slipway release ' || $1, 0))`, [id]);
}

/**
 * Claims the application for the release (invariant 1). Claiming it again for the same release changes nothing.
 * @throws SlipwayError APPLICATION_HAS_RELEASE when another release is active; RELEASE_KEY_REUSED when this one has ended: an attempt that
 * comes after the end would claim for ever
 */
export async function claimApplication(db: Transaction, release: NewRelease): Promise<void> {
  await lockRelease(db, release.id);
  const ended = await db.query('select 1 from release_events where release = $1 and name = $2', [
    release.id,
    ENDED,
  ]);
  if (ended.rows.length > 0) {
    throw new SlipwayError('RELEASE_KEY_REUSED', `the release ${release.id} has ended already`, {
      field: 'release',
      value: release.id,
      remedy: 'Start a new release, with a key or workflow id of its own',
    });
  }
  const { rows } = await db.query<{ id: string }>(
    `insert into releases (id, application, workflow_id, requester, spec, candidate, stable)
     values ($1, $2, $3, $4, $5, $6, $7)
     on conflict do nothing returning id`,
    [
      release.id,
      release.application,
      release.workflowId,
      release.requester,
      release.spec,
      release.candidate,
      release.stable,
    ],
  );
  if (rows.length > 0 || (await findRelease(db, release.id)) !== null) return;
  const active = await activeRelease(db, release.application);
  throw new SlipwayError(
    'APPLICATION_HAS_RELEASE',
    `${release.application} already has the active release ${active?.id ?? 'of another engineer'}`,
    {
      field: 'application',
      value: release.application,
      remedy: 'Wait until that release has ended, or abort it: slipway release abort RELEASE',
    },
  );
}

export async function findRelease(db: Queryable, id: string): Promise<ReleaseRow | null> {
  const { rows } = await db.query<ReleaseRow>(`select ${columns} from releases where id = $1`, [id]);
  return rows[0] ?? null;
}

/** @throws SlipwayError RELEASE_NOT_FOUND */
export async function getRelease(db: Queryable, id: string): Promise<ReleaseRow> {
  const row = await findRelease(db, id);
  if (row === null) {
    throw new SlipwayError('RELEASE_NOT_FOUND', `there is no release ${id}`, {
      field: 'release',
      value: id,
      remedy: 'slipway release list shows the releases',
    });
  }
  return row;
}

export async function activeRelease(db: Queryable, application: string): Promise<ReleaseRow | null> {
  const { rows } = await db.query<ReleaseRow>(
    `select ${columns} from releases where application = $1 and ended_at is null`,
    [application],
  );
  return rows[0] ?? null;
}

/** The newest first. */
export async function listReleases(
  db: Queryable,
  filter: { application?: string | undefined; limit?: number | undefined } = {},
): Promise<ReleaseRow[]> {
  const { rows } = await db.query<ReleaseRow>(
    `select ${columns} from releases where $1::text is null or application = $1
      order by created_at desc limit $2`,
    [filter.application ?? null, filter.limit ?? 100],
  );
  return rows;
}

export interface ReleaseProgress {
  sequence: number;
  stage: Stage;
  phase: Phase;
  reason: string | null;
}

/** Mirrors the workflow's stage for lists and pages; the workflow stays the truth. What arrives late is not written. */
export async function recordProgress(db: Queryable, id: string, progress: ReleaseProgress): Promise<void> {
  await db.query(
    `update releases set sequence = $2, stage = $3, phase = $4, reason = $5
      where id = $1 and sequence < $2 and ended_at is null`,
    [id, progress.sequence, progress.stage, progress.phase, progress.reason],
  );
}

export async function recordCanarySince(db: Queryable, id: string, since: Date): Promise<void> {
  await db.query('update releases set canary_since = coalesce(canary_since, $2) where id = $1', [id, since]);
}

/**
 * Fences the release's moves of traffic: an attempt of an earlier move that comes late is refused.
 * @throws SlipwayError ROUTE_CONFLICT, RELEASE_NOT_FOUND
 */
export async function fenceMoves(db: Queryable, id: string, move: number): Promise<void> {
  const { rowCount } = await db.query(
    'update releases set last_move = $2 where id = $1 and last_move <= $2',
    [id, move],
  );
  if (rowCount === 1) return;
  await getRelease(db, id);
  throw new SlipwayError('ROUTE_CONFLICT', 'a later move of this release was made already', {
    field: 'phase',
    value: move,
    remedy: 'Nothing is to be done: this attempt came late',
  });
}

/** Ends the release, claimed or not, and frees its application; ending it again changes nothing. */
export async function endRelease(
  db: Transaction,
  id: string,
  { sequence, stage, phase, reason }: ReleaseProgress,
  { outcome, at }: { outcome: 'promoted' | 'rolled-back'; at: Date },
): Promise<void> {
  await lockRelease(db, id);
  await db.query(
    `update releases set sequence = $2, stage = $3, phase = $4, reason = $5, ended_at = $6
      where id = $1 and ended_at is null`,
    [id, sequence, stage, phase, reason, at],
  );
  await appendEvent(db, {
    release: id,
    name: ENDED,
    at,
    actor: 'slipway',
    kind: 'ended',
    details: { outcome, reason },
  });
}

export interface ReleaseEvent {
  release: string;
  /** Deterministic name within the release: the same event written twice is one event (invariant 6). */
  name: string;
  at: Date;
  actor: string;
  kind: string;
  details: Record<string, unknown>;
}

/** Appends to the release's audit. @returns whether it was new */
export async function appendEvent(db: Queryable, event: ReleaseEvent): Promise<boolean> {
  const { rowCount } = await db.query(
    `insert into release_events (release, name, at, actor, kind, details) values ($1, $2, $3, $4, $5, $6)
     on conflict (release, name) do nothing`,
    [event.release, event.name, event.at, event.actor, event.kind, JSON.stringify(event.details)],
  );
  return rowCount === 1;
}

/** Events of a release in the order they were written, from just after `after` on. */
export async function listEvents(
  db: Queryable,
  release: string,
  after = 0,
): Promise<(ReleaseEvent & { id: number })[]> {
  const { rows } = await db.query<ReleaseEvent & { id: number }>(
    'select id, release, name, at, actor, kind, details from release_events where release = $1 and id > $2 order by id',
    [release, after],
  );
  return rows;
}

/** An application comes into being with its first release. */
export async function ensureApplication(db: Queryable, name: string): Promise<void> {
  await db.query('insert into applications (name) values ($1) on conflict (name) do nothing', [name]);
}
