import { SlipwayError } from '../../domain/errors.ts';
import type { Arm } from '../../domain/words.ts';
import { type Database, inTransaction, type Queryable, type Transaction } from '../database.ts';
import { nextBatch } from './batch.ts';
import { type RequestWindow, windowsOf } from './request-time.ts';
import { Increments } from './statistics.ts';

/** What an evaluator says of one answer. The evaluator's metric is `quality:<evaluator>`. */
export interface Score {
  /** The request's id. */
  request: string;
  evaluator: string;
  /** 0 (worst) to 1 (best) */
  score: number;
  /** The tenant that gave it; only a sample of the same tenant takes it. Left out: Slipway's own evaluator. */
  tenant?: string | undefined;
}

/** A score that now counts, with what it counts for. */
export interface AttachedScore extends Score {
  application: string;
  revision: string;
  /** null: a request without a user; kept, and out of the gate. */
  arm: Arm | null;
}

interface AttachedRow extends Omit<AttachedScore, 'tenant'> {
  tenant: string | null;
  experiment: number;
  stratum: number;
  userId: number | null;
}

const named = /^[a-z0-9][a-z0-9_.-]{0,62}$/;

/**
 * Attaches scores to their samples, each request and evaluator once: the first score stays. A score that comes before its sample waits for
 * it and is attached in the sample's own transaction.
 * @returns the scores that this call made count
 * @throws SlipwayError INPUT_INVALID when a score is not in 0–1 or an evaluator's name is not one; then nothing is attached
 */
export async function attachScores(db: Database, scores: readonly Score[]): Promise<AttachedScore[]> {
  for (const [index, score] of scores.entries()) {
    if (!(score.score >= 0 && score.score <= 1)) {
      throw new SlipwayError('INPUT_INVALID', `a score must be from 0 to 1, not ${score.score}`, {
        field: `scores[${index}].score`,
        value: score.score,
        remedy: 'Scale it to 0 (worst) to 1 (best)',
      });
    }
    if (!named.test(score.evaluator)) {
      throw new SlipwayError('INPUT_INVALID', `${score.evaluator} cannot name an evaluator`, {
        field: `scores[${index}].evaluator`,
        value: score.evaluator,
        remedy: 'Use lower-case letters, digits, dots, dashes and underscores, 63 at most',
      });
    }
  }
  if (scores.length === 0) return [];
  return inTransaction(db, async (tx) => {
    const batch = await nextBatch(tx);
    const { rows } = await tx.query<{ request: string }>(
      `insert into scores (request_id, evaluator, score, tenant)
       select * from unnest($1::uuid[], $2::text[], $3::float8[], $4::text[])
       on conflict do nothing returning request_id as request`,
      [
        scores.map((score) => score.request),
        scores.map((score) => score.evaluator),
        scores.map((score) => score.score),
        scores.map((score) => score.tenant ?? ''),
      ],
    );
    const increments = new Increments();
    const attached = await attachWaiting(
      tx,
      batch,
      rows.map((row) => row.request),
      increments,
    );
    await increments.write(tx);
    return attached;
  });
}

/** Attaches what waits for these requests and adds it to the increments. */
export async function attachWaiting(
  tx: Transaction,
  batch: number,
  requests: readonly string[],
  increments: Increments,
): Promise<AttachedScore[]> {
  const { rows: waiting } = await tx.query<{ request: string }>(
    'select distinct request_id as request from scores where request_id = any($1::uuid[]) and batch is null',
    [requests],
  );
  const rows: AttachedRow[] = [];
  for (const window of windowsOf(waiting.map((row) => row.request))) {
    rows.push(...(await attachWithin(tx, batch, window)));
  }
  for (const row of rows) {
    if (row.arm === null || row.userId === null) continue;
    const place = { experiment: row.experiment, arm: row.arm, stratum: row.stratum, userId: row.userId };
    increments.addValue(place, `quality:${row.evaluator}`, row.score);
  }
  return rows.map(({ request, evaluator, score, tenant, application, revision, arm }) => ({
    request,
    evaluator,
    score,
    tenant: tenant ?? undefined,
    application,
    revision,
    arm,
  }));
}

/** Attaches within a span of days: the samples of every other day are not even opened, however many there are. */
async function attachWithin(tx: Transaction, batch: number, window: RequestWindow): Promise<AttachedRow[]> {
  const { rows } = await tx.query<AttachedRow>(
    `with chosen as (
       select distinct on (c.request_id, c.evaluator) c.request_id, c.evaluator, c.tenant, e.application, s.revision, s.arm,
              s.experiment, s.stratum, s.user_id
         from scores c join samples s on s.id = c.request_id join experiments e on e.id = s.experiment
        where c.request_id = any($2::uuid[]) and s.id = any($2::uuid[]) and s.at >= $3::timestamptz and s.at < $4::timestamptz
          and c.batch is null and c.tenant in ('', s.tenant)
          and not exists (select from scores other where other.request_id = c.request_id
                             and other.evaluator = c.evaluator and other.batch is not null)
        order by c.request_id, c.evaluator, c.tenant)
     update scores c set batch = $1 from chosen o
      where c.request_id = o.request_id and c.evaluator = o.evaluator and c.tenant = o.tenant
     returning c.request_id as request, c.evaluator, c.score, nullif(c.tenant, '') as tenant, o.application, o.revision, o.arm,
               o.experiment, o.stratum, o.user_id as "userId"`,
    [batch, window.requests, window.from, window.to],
  );
  return rows;
}

/**
 * Keeps what a tenant's user said of an answer. The first word stays.
 * @returns whether it was the first
 */
export async function saveFeedback(
  db: Queryable,
  feedback: { request: string; tenant: string; score: number; comment: string | null },
): Promise<boolean> {
  const { rowCount } = await db.query(
    `insert into feedback (request_id, tenant, score, comment) values ($1, $2, $3, $4) on conflict do nothing`,
    [feedback.request, feedback.tenant, feedback.score, feedback.comment],
  );
  return rowCount === 1;
}
