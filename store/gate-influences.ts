import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { addedSums } from '../domain/gate/influence.ts';
import type { InfluenceRequest, InfluenceSums } from '../domain/gate/types.ts';
import type { Thread } from './gate-influences-thread.ts';
import { influencesOf } from './gate-scan.ts';
import type { Snapshot } from './gate-snapshot.ts';

/** Rows of users that are held in memory at once, some 120 bytes each; more are taken in parts, user by user. */
const ROWS_AT_ONCE = 6_000_000;

/** Fewer rows are read within some tenth of a second, and not worth a thread. */
const WORTH_THREADS = 100_000;

/** More would only wait for Postgres, which works as much as they do. */
const MOST_THREADS = 4;

/**
 * Pass 2: squares of the users' influences, as `InfluenceRequest` says. Postgres reads the per-user rows in one scan for all requests and
 * sends them as columns of numbers; the arithmetic is done here, where a row costs nanoseconds. Much of it is done in threads, each with
 * its own connection and users, so that all processors share the work and this thread stays free for others. @param rows about how many
 * rows there are
 */
export async function readInfluences(
  snapshot: Snapshot,
  experiment: number,
  requests: readonly InfluenceRequest[],
  rows: number,
): Promise<InfluenceSums[]> {
  const scan = { experiment, requests, rows };
  if (rows < WORTH_THREADS) return influencesOf(snapshot.tx, scan, [{ part: 0, of: 1 }]);
  const threads = Math.min(MOST_THREADS, availableParallelism());
  const of = Math.max(threads, Math.ceil((threads * rows) / ROWS_AT_ONCE));
  const shared = await snapshot.share();
  const parts = Array.from({ length: of }, (_, part) => ({ part, of }));
  return inThreads(
    Array.from({ length: threads }, (_, thread) => ({
      shared,
      scan,
      parts: parts.filter(({ part }) => part % threads === thread),
    })),
  );
}

async function inThreads(tasks: readonly Thread[]): Promise<InfluenceSums[]> {
  const workers = tasks.map(
    (workerData) => new Worker(new URL('./gate-influences-thread.ts', import.meta.url), { workerData }),
  );
  try {
    const sums = await Promise.all(workers.map(async (worker) => answerOf(worker)));
    return sums.reduce(addedSums);
  } finally {
    // After a failure the others still read; nobody waits for what they find.
    await Promise.all(workers.map(async (worker) => worker.terminate()));
  }
}

async function answerOf(worker: Worker): Promise<InfluenceSums[]> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`a thread of the judgement ended with ${code}`)));
  });
}
