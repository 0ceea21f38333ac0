/** Applies the store's migrations to DATABASE_URL and ends: the job that a cluster runs before the rest. */
import { pino } from 'pino';
import { fatalForLog } from '../domain/error-for-log.ts';
import { openDatabase } from '../store/database.ts';
import { migrate } from '../store/migrate.ts';

const log = pino({ name: 'slipway-migrate' });
const url = process.env.DATABASE_URL;
if (!url) {
  log.fatal({ field: 'DATABASE_URL', remedy: 'Set it to postgres://…' }, 'DATABASE_URL is not set');
  process.exit(2);
}
const db = openDatabase(url, { max: 1, applicationName: 'slipway-migrate' });
try {
  log.info({ applied: await migrate(db) }, 'the database is as this version needs it');
} catch (error) {
  log.fatal(fatalForLog(error), 'the database could not be migrated');
  process.exitCode = 1;
} finally {
  await db.end();
}
