import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const BUSY = 5;

/** A lock that only its file holds on to would be given up by the garbage collector. */
const held = new Set<DatabaseSync>();

/**
 * Takes the lock that the file stands for, or gives undefined when another holder on this machine has it. It is an operating system's
 * lock on a SQLite file: it goes with its holder, however that dies, so there is no stale lock to clear. Call the result to give it up.
 */
export function takeLock(file: string): (() => void) | undefined {
  mkdirSync(dirname(file), { recursive: true });
  const lock = new DatabaseSync(file);
  try {
    lock.exec('PRAGMA busy_timeout = 0');
    lock.exec('BEGIN EXCLUSIVE');
    held.add(lock);
    return () => {
      held.delete(lock);
      lock.close();
    };
  } catch (error) {
    lock.close();
    if (error instanceof Error && 'errcode' in error && error.errcode === BUSY) return undefined;
    throw error;
  }
}
