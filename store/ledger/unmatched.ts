import type { Queryable } from '../database.ts';

/** Longer than a gateway may be away with samples in its spool; ms. */
const KEPT_MS = 7 * 86_400_000;
/** Rows of one statement: none holds its locks for long. */
const AT_ONCE = 10_000;

/**
 * Forgets scores that no sample has taken for a week, with what was said beside them: a request that there never was, or of another tenant.
 * @returns how many
 */
export async function forgetUnmatchedScores(db: Queryable): Promise<number> {
  for (let forgotten = 0; ; ) {
    const { rows } = await db.query<{ scores: number }>(
      `with gone as (
         delete from scores where ctid = any(array(
           select ctid from scores where batch is null and at < now() - $1 * interval '1 millisecond'
            limit $2 for update skip locked))
         returning request_id, tenant, evaluator),
       said as (
         delete from feedback f using gone g
          where g.evaluator = 'feedback' and f.request_id = g.request_id and f.tenant = g.tenant)
       select count(*) as scores from gone`,
      [KEPT_MS, AT_ONCE],
    );
    const scores = rows[0]?.scores ?? 0;
    forgotten += scores;
    if (scores < AT_ONCE) return forgotten;
  }
}
