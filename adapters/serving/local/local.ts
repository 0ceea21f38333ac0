import { mkdir, readdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { servingName, type WantedServing } from '../../../domain/serving/serving.ts';
import type { ServingAdapter, ServingObservation } from '../adapter.ts';
import { remedyFor } from '../diagnosis.ts';
import { locked } from './lock.ts';
import {
  logFile,
  type ReplicaRecord,
  readReplicas,
  readServing,
  type ServingRecord,
  writeReplica,
  writeServing,
} from './records.ts';
import {
  endpointOf,
  endReplica,
  ensureReplica,
  hasFailed,
  isHealthy,
  isReplicaAlive,
  tailOfLog,
} from './replica.ts';

export interface LocalServingOptions {
  /** Where it keeps what runs, and the logs; workers of one machine that share it share the servings. */
  stateDir: string;
  /** The program that takes vLLM's command line, with the arguments that come first. */
  command: readonly string[];
  /** How long a replica may finish its requests before it is killed. */
  graceMs?: number | undefined;
}

const DEFAULT_GRACE_MS = 10_000;
const LOOK_AGAIN_MS = 250;

/**
 * Servings as processes of this machine. Replicas outlive the worker that started them; records under `stateDir/servings/NAME/` (with
 * the ids of their process groups) and a lock per serving let any worker go on where another was killed.
 */
export function createLocalServing(options: LocalServingOptions): ServingAdapter {
  const root = resolve(options.stateDir);
  const folderOf = (name: string): string => join(root, 'servings', name);
  const graceMs = options.graceMs ?? DEFAULT_GRACE_MS;

  return {
    endsTheLast: true,

    async apply(serving) {
      const name = servingName(serving.digest);
      await withLock(root, name, async () => {
        const folder = folderOf(name);
        await mkdir(folder, { recursive: true });
        await writeServing(folder, { serving, stopping: false });
        for (const replica of await readReplicas(folder)) {
          const surplus = replica.index >= serving.replicas;
          const failed = hasFailed(replica) && !(await isReplicaAlive(replica));
          if (surplus || failed) await endReplica(folder, replica, graceMs);
        }
        await ensureAll(folder, serving, options.command);
      });
    },

    async observe(digest) {
      const name = servingName(digest);
      return withLock(root, name, async () => {
        const folder = folderOf(name);
        const record = await readServing(folder);
        if (record === null) return absent(digest, name);
        if (!record.stopping) await ensureAll(folder, record.serving, options.command);
        return observation(folder, name, record);
      });
    },

    async changed(_digest, signal) {
      await delay(LOOK_AGAIN_MS, undefined, { signal }).catch(() => {});
    },

    /** Nobody can know beforehand what a process of this machine will find. */
    check: async () => [],

    async remove(digest) {
      await removeFolder(root, servingName(digest), graceMs);
    },

    async list() {
      const observations: ServingObservation[] = [];
      for (const name of await namesIn(root)) {
        const record = await readServing(folderOf(name));
        if (record !== null) observations.push(await this.observe(record.serving.digest));
      }
      return observations.filter(({ state }) => state !== 'absent');
    },
  };
}

/** Ends every serving under the state folder, for the end of a local stack; the next apply starts them again. */
export async function stopAll(stateDir: string, graceMs = DEFAULT_GRACE_MS): Promise<void> {
  const root = resolve(stateDir);
  await Promise.all((await namesIn(root)).map((name) => removeFolder(root, name, graceMs)));
}

async function withLock<T>(root: string, name: string, work: () => Promise<T>): Promise<T> {
  await mkdir(join(root, 'locks'), { recursive: true });
  return locked(join(root, 'locks', name), work);
}

async function namesIn(root: string): Promise<string[]> {
  return (await readdir(join(root, 'servings')).catch(() => [])).sort();
}

async function ensureAll(folder: string, serving: WantedServing, command: readonly string[]): Promise<void> {
  for (let index = 0; index < serving.replicas; index++) {
    await ensureReplica(serving, index, { folder, command });
  }
}

async function removeFolder(root: string, name: string, graceMs: number): Promise<void> {
  await withLock(root, name, async () => {
    const folder = join(root, 'servings', name);
    const record = await readServing(folder);
    if (record !== null) await writeServing(folder, { ...record, stopping: true });
    await Promise.all((await readReplicas(folder)).map((replica) => endReplica(folder, replica, graceMs)));
    await rm(folder, { recursive: true, force: true });
  });
}

const absent = (digest: string, name: string): ServingObservation => ({
  digest,
  name,
  state: 'absent',
  ready: 0,
  wanted: 0,
  endpoints: [],
  message: 'it does not exist',
  gpus: 0,
  since: null,
});

type Health = 'ready' | 'loading' | 'failed';

async function observation(
  folder: string,
  name: string,
  { serving, stopping }: ServingRecord,
): Promise<ServingObservation> {
  const replicas = await readReplicas(folder);
  const states = await Promise.all(replicas.map((replica) => healthOf(folder, replica)));
  const endpoints = replicas.filter((_, index) => states[index] === 'ready').map(endpointOf);
  const wanted = serving.replicas;
  const seen = {
    digest: serving.digest,
    name,
    ready: endpoints.length,
    wanted,
    endpoints,
    gpus: wanted * serving.runtime.gpu.count,
    since: null,
  };
  if (stopping) return { ...seen, state: 'stopping', message: 'it is being removed' };
  const loading = states.filter((state) => state === 'loading').length;
  const summary = `${seen.ready} of ${wanted} replicas ready${loading > 0 ? `, ${loading} loading the model` : ''}`;
  const failed = replicas[states.indexOf('failed')];
  if (failed !== undefined) {
    const log = await tailOfLog(folder, failed.index);
    return {
      ...seen,
      state: 'failed',
      message: `${summary}; replica ${failed.index} ended ${failed.attempts} times before it was ready. The end of its log:\n${log}`,
      remedy: remedyFor(log, logFile(folder, failed.index)),
    };
  }
  return { ...seen, state: seen.ready === wanted ? 'ready' : 'starting', message: summary };
}

async function healthOf(folder: string, replica: ReplicaRecord): Promise<Health> {
  if (!(await isReplicaAlive(replica))) return hasFailed(replica) ? 'failed' : 'loading';
  if (!(await isHealthy(replica))) return 'loading';
  if (!replica.wasReady) await writeReplica(folder, { ...replica, wasReady: true, attempts: 1 });
  return 'ready';
}
