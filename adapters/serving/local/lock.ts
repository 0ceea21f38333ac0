import { DatabaseSync } from 'node:sqlite';
import { setTimeout as delay } from 'node:timers/promises';

/** Long enough for another worker to end every replica of a serving. */
const PATIENCE_MS = 60_000;

/**
 * Runs `work` while no other process of this machine, and nobody else in this one, holds the lock of the file. The operating system
 * frees it when its holder dies, however it dies. (SQLite's exclusive lock, because Node has no flock.)
 */
export async function locked<T>(file: string, work: () => Promise<T>): Promise<T> {
  const database = new DatabaseSync(file, { timeout: 0 });
  try {
    const deadline = performance.now() + PATIENCE_MS;
    while (!tryLock(database)) {
      if (performance.now() > deadline) throw new Error(`${file} is locked by another process`);
      await delay(20);
    }
    return await work();
  } finally {
    database.close();
  }
}

function tryLock(database: DatabaseSync): boolean {
  try {
    database.exec('begin exclusive');
    return true;
  } catch (error) {
    const SQLITE_BUSY = 5;
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return false;
    throw error;
  }
}
