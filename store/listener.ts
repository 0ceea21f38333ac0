import pg from 'pg';
import type { Queryable } from './database.ts';

/** A connection of its own that hears a channel of NOTIFY and can be asked. */
export interface Listener {
  db: Queryable;
  close: () => Promise<void>;
}

/**
 * Connects and listens. A connection that breaks, or that does not answer a query within 3 s, is of no more use: the query throws, or
 * `onBroken` is called, and the caller closes it and listens anew.
 */
export async function listen(
  url: string,
  options: { channel: string; applicationName: string; onNotification: () => void; onBroken: () => void },
): Promise<Listener> {
  const client = new pg.Client({
    connectionString: url,
    application_name: options.applicationName,
    connectionTimeoutMillis: 2_000,
    query_timeout: 3_000,
    keepAlive: true,
  });
  client.on('error', options.onBroken);
  client.on('end', options.onBroken);
  client.on('notification', options.onNotification);
  const close = async (): Promise<void> => {
    client.off('end', options.onBroken);
    await client.end().catch(() => {});
  };
  try {
    await client.connect();
    await client.query(`listen ${pg.escapeIdentifier(options.channel)}`);
  } catch (error) {
    await close();
    throw error;
  }
  // pg.Client has the pool's `query` with every overload that Queryable needs.
  return { db: client as unknown as Queryable, close };
}
