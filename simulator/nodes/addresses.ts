import { NodesError } from './errors.ts';
import { ip } from './ip.ts';

/** First and last address of an IPv4 range such as `10.244.0.0/16`, as numbers; its network and broadcast addresses are left out. */
export function parseRange(range: string): { first: number; last: number } {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(range);
  const bytes = (match ?? []).slice(1, 5).map(Number);
  const prefix = Number(match?.[5]);
  if (bytes.length !== 4 || bytes.some((byte) => byte > 255) || !(prefix >= 8 && prefix <= 30)) {
    throw new NodesError(
      `The address range '${range}' is not valid.`,
      'Give an IPv4 range with a prefix of 8 to 30, such as 10.244.0.0/16.',
    );
  }
  if (bytes[0] === 127) {
    throw new NodesError(
      `The address range '${range}' cannot be used: Kubernetes refuses loopback addresses as endpoints.`,
      'Give a private range such as 10.244.0.0/16.',
    );
  }
  const size = 2 ** (32 - prefix);
  const number = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
  const network = number - (number % size);
  return { first: network + 1, last: network + size - 2 };
}

export function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join('.');
}

/**
 * Addresses of this machine's loopback device, each with a label in the kernel that says whose it is: who finds the label knows what a
 * killed owner left behind, and two owners may share a range, since the kernel refuses an address that is already there.
 */
export class Addresses {
  /** At most 15 characters, `lo:` among them. */
  readonly label: string;
  #first: number;
  #last: number;
  #next: number;

  /** Begins with the address of the number `start`, wrapped into the range: owners with different ones rarely follow each other on one. */
  constructor(range: string, label: string, start: number) {
    const { first, last } = parseRange(range);
    this.label = label;
    this.#first = first;
    this.#last = last;
    this.#next = first + (start % (last - first + 1));
  }

  /** Adds the next free address to the device. Throws NodesError when that is not possible here. */
  async take(): Promise<string> {
    for (let tried = this.#first; tried <= this.#last; tried++) {
      const address = dotted(this.#next);
      this.#next = this.#next === this.#last ? this.#first : this.#next + 1;
      try {
        await ip(['address', 'add', `${address}/32`, 'dev', 'lo', 'label', this.label]);
        return address;
      } catch (error) {
        if (!/already assigned|File exists/.test((error as Error).message)) throw error;
      }
    }
    throw new NodesError('Every address of the range is taken.', 'Give a larger address range.');
  }

  /** Removes an address; one that is gone already is no failure. */
  async give(address: string): Promise<void> {
    await ip(['address', 'del', `${address}/32`, 'dev', 'lo']).catch(() => undefined);
  }
}

/** Removes every address whose label matches, such as `lo:s1f3c*`. */
export async function removeLabelled(pattern: string): Promise<void> {
  const listed = await ip(['-oneline', 'address', 'show', 'dev', 'lo', 'label', pattern]);
  for (const [, address] of listed.matchAll(/\binet (\S+)/g)) {
    if (address !== undefined) await ip(['address', 'del', address, 'dev', 'lo']).catch(() => undefined);
  }
}

/** Why this machine cannot hold nodes, as a sentence; undefined when it can. Tries it with one address. */
export async function whyNoNodes(): Promise<string | undefined> {
  const trial = new Addresses('10.244.255.0/24', 'lo:trial', 0);
  try {
    await trial.give(await trial.take());
    return undefined;
  } catch (error) {
    return error instanceof NodesError ? `${error.message} ${error.remedy}` : String(error);
  }
}
