import { type Database, inTransaction, openDatabase, type Transaction } from './database.ts';

/** One state of the ledger, for as many statements as one likes. */
export interface Snapshot {
  tx: Transaction;
  /** What another thread needs to see the same, for as long as this snapshot is open. */
  share: () => Promise<SharedSnapshot>;
}

export interface SharedSnapshot {
  /** Of the database. */
  url: string;
  /** As Postgres names it (`pg_export_snapshot`). */
  id: string;
}

/** Memory of a sort or hash of a judgement. */
const WORK_MEM = '128MB';

const READ_ONLY = 'set transaction isolation level repeatable read, read only';

/** Reads in one snapshot, which no batch that commits meanwhile can change. */
export async function inSnapshot<T>(db: Database, work: (snapshot: Snapshot) => Promise<T>): Promise<T> {
  return inTransaction(db, async (tx) => {
    await tx.query(`${READ_ONLY}; set local work_mem = '${WORK_MEM}'`);
    const share = async (): Promise<SharedSnapshot> => {
      const { rows } = await tx.query<{ id: string }>('select pg_export_snapshot() as id');
      return { url: db.options.connectionString ?? '', id: rows[0]?.id ?? '' };
    };
    return work({ tx, share });
  });
}

/** Reads in a snapshot that another connection holds open. */
export async function inSharedSnapshot<T>(
  { url, id }: SharedSnapshot,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  const db = openDatabase(url, { max: 1 });
  try {
    return await inTransaction(db, async (tx) => {
      await tx.query(`${READ_ONLY}; set transaction snapshot '${id}'`);
      return work(tx);
    });
  } finally {
    await db.end();
  }
}
