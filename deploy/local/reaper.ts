/**
 * Ends what a supervisor started when the supervisor is gone, even by SIGKILL: its stdin is a pipe whose other end only the supervisor
 * holds. Lines on it are `+GROUP` and `-GROUP` (process groups begun and ended); the end of the pipe is the end of the supervisor.
 * A process between its start and its line, and one that left its group, are found by the mark `NAME=value`, the only argument, in
 * their environment (Linux).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

/** How long a process may take to end by itself before it is killed, in milliseconds. */
const GRACE_MS = 2000;

const groups = new Set<number>();
const mark = process.argv[2];

function send(signal: NodeJS.Signals | 0, pid: number): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

function marked(): number[] {
  if (!mark) return [];
  const needle = `${mark}\0`;
  let pids: string[];
  try {
    pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
  return pids.map(Number).filter((pid) => {
    if (pid === process.pid) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, 'latin1').includes(needle);
    } catch {
      return false;
    }
  });
}

const alive = (): number[] =>
  [...[...groups].map((group) => -group), ...marked()].filter((pid) => send(0, pid));

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

for await (const line of createInterface({ input: process.stdin })) {
  const group = Number(line.slice(1));
  if (!Number.isInteger(group) || group <= 1) continue;
  if (line.startsWith('+')) groups.add(group);
  else groups.delete(group);
}

for (const pid of alive()) send('SIGTERM', pid);
const deadline = performance.now() + GRACE_MS;
while (alive().length > 0 && performance.now() < deadline) await delay(50);
for (let round = 0; round < 40 && alive().length > 0; round++) {
  for (const pid of alive()) send('SIGKILL', pid);
  await delay(50);
}
