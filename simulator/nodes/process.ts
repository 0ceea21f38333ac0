import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { constants } from 'node:os';
import type { ProcessGroups } from './groups.ts';
import { killGroup } from './kill.ts';

export interface ProcessSpec {
  command: string;
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  cwd: string;
  /** Receives stdout and stderr. */
  logFile: string;
}

export interface Exit {
  /** As a shell counts it: 128 + the signal's number for a process that a signal ended. */
  code: number;
  signal: NodeJS.Signals | undefined;
}

/** The process of a container, with a group of its own. */
export class ContainerProcess {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  #ended = false;

  private constructor(child: ChildProcess, pid: number, groups: ProcessGroups) {
    this.pid = pid;
    groups.begun(pid);
    this.exited = new Promise<Exit>((resolve) => {
      child.once('exit', (code, signal) => {
        this.#ended = true;
        groups.ended(pid);
        resolve({
          code: code ?? 128 + (signal === null ? 0 : constants.signals[signal]),
          signal: signal ?? undefined,
        });
      });
    });
  }

  /** Throws what the operating system says when the program cannot be started. */
  static async start(spec: ProcessSpec, groups: ProcessGroups): Promise<ContainerProcess> {
    const log = openSync(spec.logFile, 'a');
    try {
      const child = spawn(spec.command, [...spec.args], {
        detached: true,
        stdio: ['ignore', log, log],
        env: { ...spec.env },
        cwd: spec.cwd,
      });
      const { pid } = child;
      if (pid === undefined) throw await new Promise<Error>((resolve) => child.once('error', resolve));
      return new ContainerProcess(child, pid, groups);
    } finally {
      closeSync(log);
    }
  }

  get running(): boolean {
    return !this.#ended;
  }

  /** SIGTERM goes to the process alone, SIGKILL to its whole group. */
  signal(signal: 'SIGTERM' | 'SIGKILL'): void {
    if (this.#ended) return;
    if (signal === 'SIGKILL') killGroup(this.pid, signal);
    else process.kill(this.pid, signal);
  }
}
