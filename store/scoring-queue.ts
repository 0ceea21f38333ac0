import type { Queryable } from './database.ts';

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
