import { after } from 'node:test';
import { type Database, openDatabase } from '../../store/database.ts';
import { startPostgres } from './stack.ts';

/** A fresh database, opened as a worker opens it, for the tests of one file; closed after the last of them. */
export async function databaseOfFile(): Promise<Database> {
  const postgres = await startPostgres();
  const db = openDatabase(postgres.url);
  after(async () => {
    await db.end();
    await postgres.stop();
  });
  return db;
}
