import { type Database, inTransaction, type Transaction } from './database.ts';

type Job = (tx: Transaction) => Promise<void>;

/** One state of the ledger, for as many statements as one likes. */
export interface Snapshot {
  tx: Transaction;
  /** Runs the jobs in any order; if they are long, side by side with a second connection that sees the same. */
  run: (jobs: readonly Job[], long: boolean) => Promise<void>;
}

/** Memory of a sort or hash of a judgement. */
const WORK_MEM = '128MB';

/** Reads in one snapshot, which no batch that commits meanwhile can change. */
export async function inSnapshot<T>(db: Database, work: (snapshot: Snapshot) => Promise<T>): Promise<T> {
  return inTransaction(db, async (tx) => {
    await tx.query(
      `set transaction isolation level repeatable read, read only; set local work_mem = '${WORK_MEM}'`,
    );
    return work({
      tx,
      run: async (jobs, long) => {
        const waiting = [...jobs];
        const worker = async (on: Transaction) => {
          for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) await job(on);
        };
        if (!long) return worker(tx);
        const { rows } = await tx.query<{ snapshot: string }>('select pg_export_snapshot() as snapshot');
        const second = inTransaction(db, async (other) => {
          await other.query('set transaction isolation level repeatable read, read only');
          await other.query(`set transaction snapshot '${rows[0]?.snapshot}'`);
          await worker(other);
        });
        // Both end before an error is told: a job still running would use a connection that is no longer its own.
        const ended = await Promise.allSettled([worker(tx), second]);
        for (const result of ended) if (result.status === 'rejected') throw result.reason;
      },
    });
  });
}
