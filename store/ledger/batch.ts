import { SlipwayError } from '../../domain/errors.ts';
import type { Queryable, Transaction } from '../database.ts';

/**
 * Takes the next batch number and with it the ledger's lock until the transaction ends: batches commit in the order of their numbers.
 * The first statement of every transaction that writes to the ledger.
 */
export async function nextBatch(tx: Transaction): Promise<number> {
  const { rows } = await tx.query<{ batch: number }>(
    'update ledger_state set batch = batch + 1 returning batch',
  );
  return batchOf(rows);
}

/** Number of the last committed batch: everything up to it is visible, and nothing is ever added under it. */
export async function watermark(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ batch: number }>('select batch from ledger_state');
  return batchOf(rows);
}

function batchOf(rows: { batch: number }[]): number {
  const batch = rows[0]?.batch;
  if (batch === undefined) throw new SlipwayError('INTERNAL', 'ledger_state has lost its row');
  return batch;
}
