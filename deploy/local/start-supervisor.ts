import { type ManagedProcess, type ProcessSpec, Supervisor } from './processes.ts';
import type { Say } from './tools/build.ts';

/** Tells which part it stops, so that who waits for the end sees what for. */
export class TellingSupervisor extends Supervisor {
  readonly #say: Say;
  readonly #parts: ManagedProcess[] = [];

  constructor(say: Say) {
    super();
    this.#say = say;
  }

  override prepare(spec: ProcessSpec): ManagedProcess {
    const part = super.prepare(spec);
    this.#parts.push(part);
    return part;
  }

  override stopAll(): Promise<void> {
    if (!this.stopping) void this.#tellEnds();
    return super.stopAll();
  }

  /** Goes through the parts in the order in which they are stopped, one after the other. */
  async #tellEnds(): Promise<void> {
    for (const part of this.#parts.toReversed()) {
      if (!part.running) continue;
      const { name } = part.spec;
      this.#say(`  stopping ${name}`);
      const { signal } = await part.exited;
      if (signal === 'SIGKILL') this.#say(`  ${name} did not end in time and was killed`);
    }
  }
}
