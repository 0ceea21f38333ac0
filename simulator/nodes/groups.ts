import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Footprint } from './footprint.ts';
import { killGroup } from './kill.ts';

/** The process groups of an agent; none outlives it, whichever way it ends (see reaper.ts). */
export class ProcessGroups {
  readonly mark: string;
  #groups = new Set<number>();
  #reaper: ChildProcess;
  #killAll = (): void => {
    for (const group of this.#groups) killGroup(group, 'SIGKILL');
  };

  constructor({ mark, label, metric }: Footprint) {
    this.mark = mark;
    const script = fileURLToPath(new URL('reaper.ts', import.meta.url));
    this.#reaper = spawn(process.execPath, [script, mark, label, String(metric)], {
      detached: true,
      // Nothing by which whoever started this process would find it: it has to finish its work.
      env: { PATH: process.env.PATH },
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    // Its pipe must not keep this process alive, and its loss must not end it.
    this.#reaper.stdin?.on('error', () => undefined);
    this.#reaper.on('error', () => undefined);
    this.#reaper.unref();
    (this.#reaper.stdin as unknown as { unref?: () => void } | null)?.unref?.();
    process.on('exit', this.#killAll);
  }

  begun(group: number): void {
    this.#groups.add(group);
    this.#reaper.stdin?.write(`+${group}\n`);
  }

  /** The group's leader has ended: nobody of the group may stay. */
  ended(group: number): void {
    killGroup(group, 'SIGKILL');
    this.#groups.delete(group);
    this.#reaper.stdin?.write(`-${group}\n`);
  }

  /** Kills what is left and lets the reaper end. */
  async close(): Promise<void> {
    process.off('exit', this.#killAll);
    this.#killAll();
    if (this.#reaper.exitCode !== null || this.#reaper.signalCode !== null) return;
    this.#reaper.ref();
    const gone = once(this.#reaper, 'exit');
    this.#reaper.stdin?.end();
    await gone;
  }
}
