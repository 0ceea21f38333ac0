import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { SlipwayError } from '../../../domain/errors.ts';
import { vllmArguments } from '../../../domain/serving/command.ts';
import type { Serving } from '../../../domain/serving/serving.ts';
import { endGroup, findProcess, isAlive, killGroup, processesWithEnvironment } from './processes.ts';
import { forgetReplica, logFile, type ReplicaRecord, readReplica, writeReplica } from './records.ts';

export const HOST = '127.0.0.1';

/** Names a replica's process, in its environment. */
const TOKEN = 'SLIPWAY_REPLICA';

/** Starts without ever becoming ready until a replica counts as failed. */
const MAX_ATTEMPTS = 3;

/** Between fork and exec a process does not carry its token yet; a launcher that was killed just there leaves one for an instant. */
const FORK_SETTLES_MS = 200;

const HEALTH_TIMEOUT_MS = 2_000;
const LOG_TAIL_CHARACTERS = 800;

export interface LaunchOptions {
  folder: string;
  command: readonly string[];
}

/**
 * Makes sure that the replica runs: keeps the one that does, adopts the one that a dead worker has started, starts another for one that
 * ended. The caller holds the serving's lock.
 * @returns its record; the process in it is not alive when the replica has failed for good
 */
export async function ensureReplica(
  serving: Serving,
  index: number,
  options: LaunchOptions,
): Promise<ReplicaRecord> {
  const record = await readReplica(options.folder, index);
  if (record === null) return launch(serving, await freshRecord(index, 1), options);
  if (record.process !== null && (await isAlive(record.process))) return record;
  const adopted = await adopt(record, options.folder);
  if (adopted !== null) return adopted;
  // The same port again: should a process without a token yet turn up after all, only one of the two can bind it.
  if (record.process === null) return launch(serving, record, options);
  if (hasFailed(record)) return record;
  return launch(serving, await freshRecord(index, record.wasReady ? 1 : record.attempts + 1), options);
}

/** For a replica that is not alive: it will not be started again by itself. */
export function hasFailed(record: ReplicaRecord): boolean {
  return !record.wasReady && record.attempts >= MAX_ATTEMPTS;
}

/** Ends the replica's processes, recorded or not, and forgets it. */
export async function endReplica(folder: string, record: ReplicaRecord, graceMs: number): Promise<void> {
  const leader = record.process ?? (await adopt(record, folder))?.process;
  if (leader) await endGroup(leader, graceMs);
  for (const { group } of await processesWithEnvironment(TOKEN, record.token)) killGroup(group);
  await forgetReplica(folder, record.index);
}

export async function isReplicaAlive(record: ReplicaRecord): Promise<boolean> {
  return record.process !== null && (await isAlive(record.process));
}

/** Does it answer now? */
export async function isHealthy(record: ReplicaRecord): Promise<boolean> {
  try {
    const response = await fetch(`${endpointOf(record)}/health`, {
      signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
    });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

export const endpointOf = (record: ReplicaRecord): string => `http://${HOST}:${record.port}`;

/** The end of what the replica wrote in its last run. */
export async function tailOfLog(folder: string, index: number): Promise<string> {
  const text = await readFile(logFile(folder, index), 'utf8').catch(() => '');
  return text.trimEnd().slice(-LOG_TAIL_CHARACTERS);
}

/** Takes over a process that carries the record's token; whatever else carries it without a leader is a leftover and is ended. */
async function adopt(record: ReplicaRecord, folder: string): Promise<ReplicaRecord | null> {
  let found = await processesWithEnvironment(TOKEN, record.token);
  if (found.length === 0 && record.process === null) {
    await delay(FORK_SETTLES_MS);
    found = await processesWithEnvironment(TOKEN, record.token);
  }
  const leader = found.find(({ pid, group }) => pid === group);
  for (const { group } of found) if (group !== leader?.pid) killGroup(group);
  if (leader === undefined) return null;
  const adopted = { ...record, process: { pid: leader.pid, start: leader.start } };
  await writeReplica(folder, adopted);
  return adopted;
}

async function freshRecord(index: number, attempts: number): Promise<ReplicaRecord> {
  return { index, token: randomUUID(), port: await freePort(), process: null, attempts, wasReady: false };
}

/** Writes what it is about to do, does it, and writes what it did. */
async function launch(
  serving: Serving,
  record: ReplicaRecord,
  { folder, command }: LaunchOptions,
): Promise<ReplicaRecord> {
  await writeReplica(folder, record);
  const [program = '', ...prefix] = command;
  const log = openSync(logFile(folder, record.index), 'w');
  const child = spawn(program, [...prefix, ...vllmArguments(serving, { host: HOST, port: record.port })], {
    // A group of its own: it outlives the worker, also one that is killed.
    detached: true,
    stdio: ['ignore', log, log],
    env: replicaEnvironment(record.token),
  });
  closeSync(log);
  if (child.pid === undefined) {
    const [error] = (await once(child, 'error')) as [Error];
    await forgetReplica(folder, record.index);
    throw new SlipwayError('SERVING_FAILED', `vLLM cannot be started: ${error.message}`, {
      field: 'SLIPWAY_VLLM_COMMAND',
      value: program,
      remedy: 'Install vLLM, or set SLIPWAY_VLLM_COMMAND to the command that starts it',
    });
  }
  child.on('error', () => undefined);
  child.unref();
  const found = await findProcess(child.pid);
  const started = { ...record, process: { pid: child.pid, start: found?.start ?? 'ended at once' } };
  await writeReplica(folder, started);
  return started;
}

/** The worker's own keys and addresses are none of the replica's business. */
const workersOwn = /^(DATABASE_URL|PG[A-Z]+|TEMPORAL_.*|SLIPWAY_(?!SUPERVISOR$).*)$/;

function replicaEnvironment(token: string): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !workersOwn.test(name));
  // Python's setproctitle, which vLLM uses, would write over the environment where the token is looked for.
  return { ...Object.fromEntries(inherited), SPT_NOENV: '1', [TOKEN]: token };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no free port');
  return address.port;
}
