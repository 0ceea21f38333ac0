import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { SlipwayError } from '../../domain/errors.ts';
import { waitUntil } from './probe.ts';

export interface ProcessSpec {
  /** What people call it, e.g. `Temporal server`. */
  name: string;
  command: string;
  args: readonly string[];
  /** Added to this process's environment; undefined removes a variable. */
  env?: Readonly<Record<string, string | undefined>>;
  cwd?: string;
  uid?: number | undefined;
  gid?: number | undefined;
  /** Receives stdout and stderr; appended to. */
  logFile: string;
  /** True as soon as the process can do its work; errors count as "not yet". Without it a started process is ready. */
  ready?: () => Promise<boolean>;
  /** Milliseconds until an unready process is a failure; 60 s by default. */
  readyTimeoutMs?: number;
  /** The signal that asks for an orderly end; SIGTERM by default. */
  stopSignal?: NodeJS.Signals;
  /** Milliseconds between the stop signal and SIGKILL; 10 s by default. */
  graceMs?: number;
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

const LOG_TAIL_LINES = 15;

/** Names, in every process's environment, the supervisor that it belongs to. */
const MARK = 'SLIPWAY_SUPERVISOR';

export function logTail(file: string, lines = LOG_TAIL_LINES): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '(no log)';
  }
}

/** True when the signal reached somebody. A negative pid names a process group. */
function send(signal: NodeJS.Signals, pid: number): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** One process with a group of its own, which can be stopped, killed and started again with the same specification. */
export class ManagedProcess {
  readonly spec: ProcessSpec;
  #supervisor: Supervisor;
  #child: ChildProcess | undefined;
  #exited: Promise<Exit> = Promise.resolve({ code: null, signal: null });

  constructor(spec: ProcessSpec, supervisor: Supervisor) {
    this.spec = spec;
    this.#supervisor = supervisor;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  /** Settles when the current run of the process has ended. */
  get exited(): Promise<Exit> {
    return this.#exited;
  }

  /** Starts the process and returns when it is ready. Throws DEPENDENCY_UNAVAILABLE with the end of its log when it is not. */
  async start(): Promise<this> {
    if (this.#child) return this;
    const child = this.#spawn();
    let ended: Exit | undefined;
    this.#exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      child.once('error', () => resolve({ code: null, signal: null }));
    }).then((exit) => {
      ended = exit as Exit;
      if (child.pid) this.#supervisor.forget(child.pid);
      this.#child = undefined;
      return ended;
    });
    const { name, ready, readyTimeoutMs = 60_000 } = this.spec;
    const unready = new AbortController();
    void this.#exited.then(() => unready.abort());
    try {
      await waitUntil(name, ready ?? (() => child.pid !== undefined), {
        timeoutMs: readyTimeoutMs,
        signal: unready.signal,
      });
      if (ended) throw new Error('ended');
    } catch {
      const how = ended
        ? this.#describe(ended)
        : `was not ready after ${Math.round(readyTimeoutMs / 1000)} s`;
      await this.stop();
      throw new SlipwayError(
        'DEPENDENCY_UNAVAILABLE',
        `${name} ${how}. The end of its log:\n${logTail(this.spec.logFile)}`,
        { field: name, remedy: `Read ${this.spec.logFile}.` },
      );
    }
    return this;
  }

  /** Starts it again whenever it ends by itself, and tells so, until the supervisor stops; a second apart, for what cannot run. */
  async keepUp(say: (line: string) => void): Promise<void> {
    for (;;) {
      const exit = await this.#exited;
      if (this.#supervisor.stopping) return;
      say(`${this.spec.name} ${this.#describe(exit)}; starting it again (its log: ${this.spec.logFile})`);
      await delay(1_000);
      if (this.#supervisor.stopping) return;
      await this.start().catch((error: unknown) => {
        say(error instanceof Error ? error.message : String(error));
      });
    }
  }

  /** Asks for an orderly end, kills after the grace, and returns when the whole group is gone. */
  async stop(): Promise<void> {
    const pid = this.#child?.pid;
    if (!pid) return;
    send(this.spec.stopSignal ?? 'SIGTERM', pid);
    const late = new AbortController();
    const killer = delay(this.spec.graceMs ?? 10_000, undefined, { signal: late.signal }).then(
      () => send('SIGKILL', -pid),
      () => false,
    );
    await this.#exited;
    late.abort();
    await killer;
  }

  /** Sends a signal to the process alone and, if it is SIGKILL, waits for the end: for fault tests. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const pid = this.#child?.pid;
    if (!pid) return;
    send(signal, pid);
    if (signal === 'SIGKILL') await this.#exited;
  }

  async restart(): Promise<this> {
    await this.stop();
    return this.start();
  }

  #spawn(): ChildProcess {
    const { command, args, cwd, uid, gid, logFile, env = {} } = this.spec;
    mkdirSync(dirname(logFile), { recursive: true });
    const log = openSync(logFile, 'a');
    const merged: NodeJS.ProcessEnv = { ...process.env, ...env, [MARK]: this.#supervisor.mark };
    for (const [key, value] of Object.entries(env)) if (value === undefined) delete merged[key];
    try {
      const child = spawn(command, [...args], {
        detached: true,
        stdio: ['ignore', log, log],
        env: merged,
        ...(cwd === undefined ? {} : { cwd }),
        ...(uid === undefined ? {} : { uid }),
        ...(gid === undefined ? {} : { gid }),
      });
      this.#child = child;
      if (child.pid) this.#supervisor.remember(child.pid);
      return child;
    } finally {
      closeSync(log);
    }
  }

  #describe({ code, signal }: Exit): string {
    if (signal) return `was ended by ${signal}`;
    return code === null ? `does not start (${this.spec.command})` : `ended with exit code ${code}`;
  }
}

/** Owns every process that it starts: none outlives it, whichever way it ends. */
export class Supervisor {
  #mark = randomUUID();
  #processes: ManagedProcess[] = [];
  #groups = new Set<number>();
  #reaper: ChildProcess;
  #stopping: Promise<void> | undefined;
  /** When a signal first asked for the end. */
  #asked: number | undefined;
  #killAll = (): void => {
    for (const group of this.#groups) send('SIGKILL', -group);
  };

  constructor() {
    process.on('exit', this.#killAll);
    this.#reaper = this.#startReaper();
    // Whatever this process starts from now on inherits the mark, also what it starts without the supervisor (a build, say), and
    // what leaves its group: the reaper finds them all by it.
    process.env[MARK] = this.#mark;
  }

  get mark(): string {
    return this.#mark;
  }

  get stopping(): boolean {
    return this.#stopping !== undefined;
  }

  /** Prepares a process without starting it. */
  prepare(spec: ProcessSpec): ManagedProcess {
    if (this.#stopping) throw new Error(`${spec.name}: the supervisor is stopping`);
    const managed = new ManagedProcess(spec, this);
    this.#processes.push(managed);
    return managed;
  }

  /** Starts a process and returns when it is ready. */
  start(spec: ProcessSpec): Promise<ManagedProcess> {
    return this.prepare(spec).start();
  }

  /** Stops everything, the last started first, and returns when no process is left. */
  stopAll(): Promise<void> {
    this.#stopping ??= this.#stopEverything();
    return this.#stopping;
  }

  /**
   * Ctrl-C, SIGTERM, a closed terminal and the death of the bootstrap stop everything and end this process with 128 + the signal's
   * number; asking again a second later or more kills. `before` runs first, for what lives in this process.
   */
  stopOnSignals(before: () => Promise<void> | void = () => undefined): void {
    const stop = async (signal: NodeJS.Signals): Promise<void> => {
      const code = 128 + constants.signals[signal];
      // One Ctrl-C may arrive twice, from the terminal and handed on by npm.
      if (this.#asked !== undefined && performance.now() - this.#asked < 1000) return;
      if (this.#asked !== undefined) process.exit(code);
      this.#asked = performance.now();
      try {
        await before();
      } finally {
        await this.stopAll();
        process.exit(code);
      }
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
    process.on('disconnect', () => stop('SIGTERM'));
    process.channel?.unref();
  }

  /** For a catch block: when a signal is ending this process, what failed is a consequence of it, and this never returns. */
  async letSignalEnd(): Promise<void> {
    if (this.#asked !== undefined) await new Promise(() => undefined);
  }

  /** For ManagedProcess: a group has begun. */
  remember(group: number): void {
    this.#groups.add(group);
    this.#tellReaper(`+${group}\n`);
  }

  /** For ManagedProcess: a group's leader has ended, and nobody of the group may stay. */
  forget(group: number): void {
    send('SIGKILL', -group);
    this.#groups.delete(group);
    this.#tellReaper(`-${group}\n`);
  }

  async #stopEverything(): Promise<void> {
    for (const managed of this.#processes.toReversed()) await managed.stop();
    process.off('exit', this.#killAll);
    const reaper = this.#reaper;
    if (reaper.exitCode !== null || reaper.signalCode !== null) return;
    reaper.ref();
    const gone = new Promise((resolve) => reaper.once('exit', resolve));
    reaper.stdin?.end();
    await gone;
  }

  #tellReaper(line: string): void {
    this.#reaper.stdin?.write(line);
  }

  #startReaper(): ChildProcess {
    const script = fileURLToPath(new URL('reaper.ts', import.meta.url));
    const { [MARK]: _outer, ...env } = process.env; // an outer supervisor's reaper must leave this one to its work
    const reaper = spawn(process.execPath, [script, `${MARK}=${this.#mark}`], {
      detached: true,
      env,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    // Its pipe must not keep this process alive, and its loss must not end it.
    reaper.stdin?.on('error', () => undefined);
    reaper.on('error', () => undefined);
    reaper.unref();
    (reaper.stdin as unknown as { unref?: () => void } | null)?.unref?.();
    return reaper;
  }
}
