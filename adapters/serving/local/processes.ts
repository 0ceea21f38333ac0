import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A process that cannot be mistaken for a later one with the same id. */
export interface ProcessIdentity {
  pid: number;
  /** When it started, in the system's own terms. */
  start: string;
}

interface Found extends ProcessIdentity {
  /** Process group; its leader's group is its own id. */
  group: number;
}

const hasProc = process.platform === 'linux';

/** Looks a process up; null when there is none, or when it has ended and only waits to be reaped. */
export async function findProcess(pid: number): Promise<Found | null> {
  return hasProc ? fromProc(pid) : ((await fromPs()).find((found) => found.pid === pid) ?? null);
}

export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  return (await findProcess(identity.pid))?.start === identity.start;
}

/** Every process that carries `name=value` in the environment it was started with. */
export async function processesWithEnvironment(name: string, value: string): Promise<Found[]> {
  const needle = `${name}=${value}`;
  if (!hasProc) return (await fromPs()).filter((found) => found.command.includes(needle));
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry)).map(Number);
  const found: Found[] = [];
  for (const pid of pids) {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
    if (!environment.split('\0').includes(needle)) continue;
    const process = await fromProc(pid);
    if (process !== null) found.push(process);
  }
  return found;
}

/** Source: proc_pid_stat(5); the command's name is in parentheses and may hold anything, so fields count from the last one. */
async function fromProc(pid: number): Promise<Found | null> {
  const text = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => null);
  if (text === null) return null;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, , group] = fields;
  const ticks = fields[19];
  if (state === undefined || 'ZXx'.includes(state)) return null;
  return { pid, start: `${await bootId()}/${ticks}`, group: Number(group) };
}

let boot: string | undefined;
async function bootId(): Promise<string> {
  boot ??= (await readFile('/proc/sys/kernel/random/boot_id', 'latin1')).trim();
  return boot;
}

/** Systems without /proc (macOS): the process table as ps prints it, with environments. */
async function fromPs(): Promise<(Found & { command: string })[]> {
  const { stdout } = await run('ps', ['-axEww', '-o', 'pid=,pgid=,stat=,lstart=,command='], {
    maxBuffer: 64 * 2 ** 20,
    env: { ...process.env, LC_ALL: 'C' },
  });
  return parsePs(stdout);
}

/** Lines of process id, group, state, start and command with environment; processes that only wait to be reaped are left out. */
export function parsePs(table: string): (Found & { command: string })[] {
  const line = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\w+\s+\w+\s+\d+\s+[\d:]+\s+\d+)\s+(.*)$/;
  return table.split('\n').flatMap((row) => {
    const [, pid, group, state = '', start = '', command = ''] = line.exec(row) ?? [];
    if (pid === undefined || state.startsWith('Z')) return [];
    return [{ pid: Number(pid), group: Number(group), start, command }];
  });
}

function send(signal: NodeJS.Signals, pid: number): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

/** Ends a whole group at once. */
export function killGroup(group: number): void {
  send('SIGKILL', -group);
}

/**
 * Asks the leader for an orderly end, so that it can finish its requests and end its own workers; after `graceMs` kills the whole
 * group. Returns when the leader is gone.
 */
export async function endGroup(leader: ProcessIdentity, graceMs: number): Promise<void> {
  if (!(await isAlive(leader))) return;
  send('SIGTERM', leader.pid);
  const deadline = performance.now() + graceMs;
  while (await isAlive(leader)) {
    if (performance.now() > deadline) killGroup(leader.pid);
    await delay(20);
  }
  killGroup(leader.pid);
}
