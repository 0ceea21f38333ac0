import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { WantedServing } from '../../../domain/serving/serving.ts';
import type { ProcessIdentity } from './processes.ts';

/** What is to run, written before anything is started. */
export interface ServingRecord {
  serving: WantedServing;
  /** Being removed: nobody restarts its replicas. */
  stopping: boolean;
}

/**
 * One replica. It is written twice: before the start with a token and a port of its own and no process, after the start with the
 * process. A worker that died in between is made good by the next, which finds the process by the token in its environment.
 */
export interface ReplicaRecord {
  index: number;
  token: string;
  port: number;
  process: ProcessIdentity | null;
  /** Starts since it was last ready. */
  attempts: number;
  /** This process has answered /health once: if it ends, it is started again. */
  wasReady: boolean;
}

const SERVING_FILE = 'serving.json';

export const logFile = (folder: string, index: number): string => join(folder, `replica-${index}.log`);
const replicaFile = (folder: string, index: number): string => join(folder, `replica-${index}.json`);

export const readServing = (folder: string): Promise<ServingRecord | null> =>
  readJson<ServingRecord>(join(folder, SERVING_FILE));

export const writeServing = (folder: string, record: ServingRecord): Promise<void> =>
  writeJson(join(folder, SERVING_FILE), record);

export const readReplica = (folder: string, index: number): Promise<ReplicaRecord | null> =>
  readJson<ReplicaRecord>(replicaFile(folder, index));

export const writeReplica = (folder: string, record: ReplicaRecord): Promise<void> =>
  writeJson(replicaFile(folder, record.index), record);

export const forgetReplica = (folder: string, index: number): Promise<void> =>
  rm(replicaFile(folder, index), { force: true });

/** Every replica that was ever meant to start, by index. */
export async function readReplicas(folder: string): Promise<ReplicaRecord[]> {
  const names = await readdir(folder).catch(() => []);
  const indexes = names
    .flatMap((name) => /^replica-(\d+)\.json$/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);
  const records = await Promise.all(indexes.map((index) => readReplica(folder, index)));
  return records.filter((record) => record !== null);
}

async function readJson<T>(file: string): Promise<T | null> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** Whole or not at all, also when the machine loses power. Writers hold the serving's lock, so one temporary name is enough. */
async function writeJson(file: string, value: unknown): Promise<void> {
  const temporary = join(dirname(file), `.${basename(file)}.new`);
  const handle = await open(temporary, 'w');
  try {
    await handle.writeFile(JSON.stringify(value));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}
