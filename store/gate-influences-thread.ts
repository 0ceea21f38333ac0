import { parentPort, workerData } from 'node:worker_threads';
import { influencesOf, type Part, type Scan } from './gate-scan.ts';
import { inSharedSnapshot, type SharedSnapshot } from './gate-snapshot.ts';

/** What a thread of `readInfluences` is started with; its one message is the sums over the users of its parts. */
export interface Thread {
  shared: SharedSnapshot;
  scan: Scan;
  parts: readonly Part[];
}

const { shared, scan, parts } = workerData as Thread;
parentPort?.postMessage(await inSharedSnapshot(shared, async (tx) => influencesOf(tx, scan, parts)));
