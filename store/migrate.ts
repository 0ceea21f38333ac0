import { readdir, readFile } from 'node:fs/promises';
import { type Database, inTransaction } from './database.ts';

const folder = new URL('./migrations/', import.meta.url);

/** Applies the migrations that the database has not seen, in order, each once, also when several processes start together. */
export async function migrate(database: Database): Promise<string[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.sql')).sort();
  return inTransaction(database, async (tx) => {
    await tx.query(`select pg_advisory_xact_lock(hashtext('slipway migrations'))`);
    await tx.query(
      'create table if not exists migrations (name text primary key, applied_at timestamptz not null default now())',
    );
    const { rows } = await tx.query<{ name: string }>('select name from migrations');
    const seen = new Set(rows.map((row) => row.name));
    const applied: string[] = [];
    for (const name of files.filter((file) => !seen.has(file))) {
      await tx.query(await readFile(new URL(name, folder), 'utf8'));
      await tx.query('insert into migrations (name) values ($1)', [name]);
      applied.push(name);
    }
    return applied;
  });
}
