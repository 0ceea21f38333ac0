import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { SlipwayError } from '../domain/errors.ts';

/** What a gateway keeps on its own disk: its name, the last route table and tenant keys, and the spool. */
export class StateFolder {
  readonly path: string;

  /** Takes the folder for this process. @throws SlipwayError INPUT_INVALID when another living gateway has it */
  constructor(path: string) {
    this.path = path;
    mkdirSync(path, { recursive: true, mode: 0o700 });
    this.#lock();
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** The gateway's name, the same after every restart: its new lease replaces the old one. */
  gatewayId(): string {
    const file = this.file('gateway-id');
    try {
      return readFileSync(file, 'utf8').trim();
    } catch {
      const id = `${hostname()}-${randomUUID().slice(0, 8)}`;
      writeFileSync(file, id, { mode: 0o600 });
      return id;
    }
  }

  /** @returns null when it was never saved, or cannot be read */
  async load<T>(name: string): Promise<T | null> {
    try {
      return JSON.parse(await readFile(this.file(name), 'utf8')) as T;
    } catch {
      return null;
    }
  }

  /** Replaces the file in one step: a crash leaves the old one or the new one. */
  async save(name: string, value: unknown): Promise<void> {
    const temporary = this.file(`${name}.new`);
    await writeFile(temporary, JSON.stringify(value), { mode: 0o600 });
    await rename(temporary, this.file(name));
  }

  #lock(): void {
    const file = this.file('lock');
    const [owner = '', born] = readOr(file, '').split(' ');
    const pid = Number(owner);
    if (pid > 0 && pid !== process.pid && isAlive(pid) && (born === undefined || born === bornOf(pid))) {
      throw new SlipwayError('INPUT_INVALID', `another gateway, process ${pid}, uses the state folder`, {
        field: 'SLIPWAY_STATE_DIR',
        remedy: `Give each gateway a folder of its own; if process ${pid} is no gateway, remove the file lock in the folder`,
      });
    }
    writeFileSync(file, [process.pid, bornOf(process.pid)].filter(Boolean).join(' '), { mode: 0o600 });
  }

  unlock(): void {
    rmSync(this.file('lock'), { force: true });
  }
}

function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return otherwise;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** When a process began, in the kernel's ticks since boot, which tells it from an earlier one of the same number; Linux only. */
function bornOf(pid: number): string | undefined {
  // After the name in parentheses, which may hold anything: state is field 3, the start field 22.
  return readOr(`/proc/${pid}/stat`, '').split(') ').at(-1)?.split(' ')[19];
}
