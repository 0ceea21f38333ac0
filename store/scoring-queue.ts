import type { Arm } from '../domain/words.ts';
import type { Queryable } from './database.ts';
import { windowsOf } from './ledger/request-time.ts';

/** An answer that waits for the online evaluator. Neither arm nor revision: the judge is blind (invariant 12). */
export interface QueuedAnswer {
  /** The request's id. */
  request: string;
  application: string;
  input: string;
  output: string;
}

/** Takes the oldest answers that nobody has, for so long; other evaluators take others. */
export async function claimAnswers(
  db: Queryable,
  { limit, claimMs }: { limit: number; claimMs: number },
): Promise<QueuedAnswer[]> {
  const { rows } = await db.query<QueuedAnswer>(
    `update scoring_queue set claimed_until = now() + $2 * interval '1 ms'
      where request_id in (
        select request_id from scoring_queue where claimed_until is null or claimed_until < now()
         order by enqueued_at limit $1 for update skip locked)
     returning request_id as request, application, input, output`,
    [limit, claimMs],
  );
  return rows;
}

/** Gives claimed answers back, to be taken again after so long. */
export async function postponeAnswers(db: Queryable, requests: string[], byMs: number): Promise<void> {
  if (requests.length === 0) return;
  await db.query(
    `update scoring_queue set claimed_until = now() + $2 * interval '1 ms' where request_id = any($1::uuid[])`,
    [requests, byMs],
  );
}

/** Answers that were set aside, of one arm; null: their samples are of no arm, or are not found. */
export interface SetAside {
  application: string;
  revision: string | null;
  arm: Arm | null;
  answers: number;
}

/**
 * Gives back claimed answers that the judge refused, to be taken again after so long; those that it has refused so often are forgotten,
 * and stay without a score.
 */
export async function refuseAnswers(
  db: Queryable,
  requests: string[],
  { againInMs, atMost }: { againInMs: number; atMost: number },
): Promise<SetAside[]> {
  if (requests.length === 0) return [];
  await db.query(
    `update scoring_queue set attempts = attempts + 1, claimed_until = now() + $2 * interval '1 ms'
      where request_id = any($1::uuid[])`,
    [requests, againInMs],
  );
  const setAside: SetAside[] = [];
  for (const window of windowsOf(requests)) {
    const { rows } = await db.query<SetAside>(
      `with gone as (
         delete from scoring_queue where request_id = any($1::uuid[]) and attempts >= $2 returning request_id, application)
       select gone.application, s.revision, s.arm, count(*) as answers
         from gone left join samples s on s.id = gone.request_id and s.at >= $3::timestamptz and s.at < $4::timestamptz
        group by 1, 2, 3`,
      [window.requests, atMost, window.from, window.to],
    );
    setAside.push(...rows);
  }
  return setAside;
}

/** Forgets answers that have been scored, and with them their texts. */
export async function removeAnswers(db: Queryable, requests: string[]): Promise<void> {
  if (requests.length === 0) return;
  await db.query('delete from scoring_queue where request_id = any($1::uuid[])', [requests]);
}

/** Drops what has waited for longer, scored by nobody. @returns how many by application */
export async function dropAnswersOlderThan(db: Queryable, ageMs: number): Promise<Map<string, number>> {
  const { rows } = await db.query<{ application: string; dropped: number }>(
    `with gone as (
       delete from scoring_queue where enqueued_at < now() - $1 * interval '1 ms' returning application)
     select application, count(*) as dropped from gone group by application`,
    [ageMs],
  );
  return new Map(rows.map((row) => [row.application, row.dropped]));
}

export async function countQueuedAnswers(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ waiting: number }>('select count(*) as waiting from scoring_queue');
  return rows[0]?.waiting ?? 0;
}
