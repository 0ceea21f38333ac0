import { shortDigest } from '../domain/digest.ts';
import type { Stage } from '../domain/words.ts';
import type { Queryable } from './database.ts';

/** An active release, with what the store last heard of it. */
export interface ActiveRelease {
  id: string;
  application: string;
  workflowId: string;
  stage: Stage;
  /** Its claim, its last event or its last look. */
  lastSign: Date;
  /** How often its canary is looked at, ms. */
  lookEvery: number;
}

/** Every release that has not ended, the oldest first. */
export async function activeReleases(db: Queryable): Promise<ActiveRelease[]> {
  const { rows } = await db.query<ActiveRelease>(
    `select r.id, r.application, r.workflow_id as "workflowId", r.stage,
            greatest(r.created_at, (select max(e.at) from release_events e where e.release = r.id),
                     (select max(l.at) from looks l where l.release = r.id)) as "lastSign",
            (s.content -> 'policy' -> 'gate' ->> 'lookEvery')::double precision as "lookEvery"
       from releases r join release_specs s on s.digest = r.spec
      where r.ended_at is null order by r.created_at, r.id`,
  );
  return rows;
}

/** The digest of the store's serving that has the same short digest, and so the same objects; the given one when there is none. */
export async function wholeDigest(db: Queryable, digest: string): Promise<string> {
  const { rows } = await db.query<{ digest: string }>(
    'select digest from servings where starts_with(digest, $1) order by digest limit 1',
    [`sha256:${shortDigest(digest)}`],
  );
  return rows[0]?.digest ?? digest;
}

/** How a serving stopped being unneeded: `removed` by the reaper, `needed` again, or `gone` by somebody else's hand. */
export type UnneededEnd = 'removed' | 'needed' | 'gone';

/** A serving that nobody needs, as the reaper found it. */
export interface UnneededServing {
  /** Digest. */
  serving: string;
  name: string;
  /** The store knows what it is; else it is an orphan of a store that was lost. */
  known: boolean;
  /** Who first asked for it. */
  application: string | null;
  release: string | null;
  gpus: number;
  /** When a run of the reaper first saw that nobody needs it; its grace counts from here. */
  since: Date;
  /** When it was last seen so. */
  seenAt: Date;
  endedAt: Date | null;
  ending: UnneededEnd | null;
}

const unneeded = `serving, name, known, application, release, gpus, since, seen_at as "seenAt", ended_at as "endedAt", ending`;

/**
 * Records that nobody needs these servings at `at`, and that those which were unneeded before and are not among them are so no more. A
 * run that comes late, after another one, moves no time back.
 * @returns what is unneeded now
 */
export async function recordUnneeded(
  db: Queryable,
  found: readonly Omit<UnneededServing, 'since' | 'seenAt' | 'endedAt' | 'ending'>[],
  existing: readonly string[],
  at: Date,
): Promise<UnneededServing[]> {
  await db.query(
    `update unneeded_servings set ended_at = $3,
            ending = case when serving = any($2::text[]) then 'needed' else 'gone' end
      where ended_at is null and serving <> all($1::text[])`,
    [found.map(({ serving }) => serving), existing, at],
  );
  for (const { serving, name, known, application, release, gpus } of found) {
    await db.query(
      `insert into unneeded_servings (serving, name, known, application, release, gpus, since, seen_at)
       values ($1, $2, $3, $4, $5, $6, $7, $7)
       on conflict (serving) where ended_at is null
       do update set gpus = excluded.gpus, seen_at = greatest(unneeded_servings.seen_at, excluded.seen_at)`,
      [serving, name, known, application, release, gpus, at],
    );
  }
  return listUnneeded(db);
}

/** What is unneeded now, the longest first. */
export async function listUnneeded(db: Queryable): Promise<UnneededServing[]> {
  const { rows } = await db.query<UnneededServing>(
    `select ${unneeded} from unneeded_servings where ended_at is null order by since, serving`,
  );
  return rows;
}

/** What was unneeded, the latest end first. */
export async function listReaped(db: Queryable, limit: number): Promise<UnneededServing[]> {
  const { rows } = await db.query<UnneededServing>(
    `select ${unneeded} from unneeded_servings where ended_at is not null order by ended_at desc, serving limit $1`,
    [limit],
  );
  return rows;
}

/** Ends a serving's time without need; ending it again changes nothing. */
export async function endUnneeded(
  db: Queryable,
  serving: string,
  ending: UnneededEnd,
  at: Date,
): Promise<void> {
  await db.query(
    'update unneeded_servings set ended_at = $3, ending = $2 where serving = $1 and ended_at is null',
    [serving, ending, at],
  );
}

/** The reaper's last run. */
export interface ReaperRun {
  at: Date;
  dryRun: boolean;
  /** ms */
  grace: number;
}

export async function recordReaperRun(db: Queryable, run: ReaperRun): Promise<void> {
  await db.query(
    `insert into reaper_runs (ran_at, dry_run, grace_ms) values ($1, $2, $3)
     on conflict (only_row) do update set ran_at = excluded.ran_at, dry_run = excluded.dry_run, grace_ms = excluded.grace_ms
       where reaper_runs.ran_at <= excluded.ran_at`,
    [run.at, run.dryRun, run.grace],
  );
}

/** null: it has never run. */
export async function lastReaperRun(db: Queryable): Promise<ReaperRun | null> {
  const { rows } = await db.query<ReaperRun>(
    'select ran_at as at, dry_run as "dryRun", grace_ms as grace from reaper_runs',
  );
  return rows[0] ?? null;
}
