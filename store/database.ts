import pg from 'pg';

export type Database = pg.Pool;
export type Transaction = pg.PoolClient;
/** Where a statement runs: on any connection of the pool, or in a transaction. */
export type Queryable = Pick<pg.Pool, 'query'>;

/** Postgres' bigint is read as a number: every bigint of the schema that is read whole stays below 2^53. */
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/**
 * A pool of connections. A connection that breaks while idle is dropped and replaced by the next query, so an outage of the database
 * surfaces as an error of the query that met it and never as an uncaught one. `queryTimeout` (ms) is for callers that must not wait on a
 * database that fell silent without closing its connections.
 */
export function openDatabase(
  url: string,
  options: { max?: number; applicationName?: string; queryTimeout?: number } = {},
): Database {
  const pool = new pg.Pool({
    connectionString: url,
    max: options.max ?? 10,
    application_name: options.applicationName ?? 'slipway',
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    ...(options.queryTimeout === undefined ? {} : { query_timeout: options.queryTimeout }),
  });
  pool.on('error', () => {});
  // Also between two statements of a transaction, when the pool itself does not listen.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

/** Runs `work` in one transaction; rolls back when it throws. */
export async function inTransaction<T>(
  database: Database,
  work: (tx: Transaction) => Promise<T>,
): Promise<T> {
  const tx = await database.connect();
  let broken: Error | undefined;
  try {
    await tx.query('begin');
    const result = await work(tx);
    await tx.query('commit');
    return result;
  } catch (error) {
    await tx.query('rollback').catch((failure: Error) => {
      broken = failure;
    });
    throw error;
  } finally {
    tx.release(broken);
  }
}
