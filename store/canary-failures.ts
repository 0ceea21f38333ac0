import { type FailureCount, failureWords } from '../domain/release/failure-words.ts';
import type { WatchedGate } from '../domain/release/watching.ts';
import type { Queryable } from './database.ts';
import { experimentOf } from './ledger.ts';

/**
 * Why requests of the canary failed, for the words of a breach: of the samples that a look at the ledger saw, so that the same look gives the
 * same words for ever. '': there was no look, or nothing failed.
 */
export async function canaryFailures(
  db: Queryable,
  release: string,
  gate: Pick<WatchedGate, 'watermark'> | null,
): Promise<string> {
  if (gate === null) return '';
  const { rows } = await db.query<FailureCount>(
    `select reason, count(*)::int as count from samples
      where experiment = $1 and batch <= $2 and arm = 'canary' and failed and reason is not null group by reason`,
    [await experimentOf(db, release), gate.watermark],
  );
  return failureWords(rows);
}
