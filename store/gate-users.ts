import type { Arm } from '../domain/words.ts';

/**
 * Per-user rows of one table in memory, for one walk over all users. Rows come in any order and are dealt to shards by user, each small enough
 * for a processor's cache: there they are put together user by user. Without that, each row of a million users costs many cache misses.
 */
export class UserTable {
  readonly groups: { arm: Arm; stratum: number }[] = [];
  /** Where a column lies in a row. */
  readonly at: ReadonlyMap<string, number>;
  readonly #columns: readonly string[];
  readonly #width: number;
  readonly #shards: Shard[];
  readonly #groupOf = new Map<number, number>();

  /** @param added names of columns that begin at 0 and are added to later; `rows`: about how many will come */
  constructor(columns: readonly string[], added: readonly string[], rows: number) {
    this.#columns = columns;
    this.#width = FIRST_COLUMN + columns.length + added.length;
    this.at = new Map([...columns, ...added].map((name, index) => [name, FIRST_COLUMN + index]));
    const shards = 2 ** Math.min(12, Math.ceil(Math.log2(1 + rows / SHARD_ROWS)));
    const room = 64 + Math.ceil((1.1 * rows) / shards);
    this.#shards = Array.from({ length: shards }, () => new Shard(this.#width, room));
  }

  /** Takes a block of rows. `user`: their users; `code`: 2·stratum, and 1 more on the canary. */
  take(rows: number, columns: Readonly<Record<string, Float64Array>>): void {
    const { user, code } = columns;
    if (!user || !code) throw new Error('a block without its place');
    const values = this.#columns.map((name) => {
      const column = columns[name];
      if (!column) throw new Error(`a block without ${name}`);
      return column;
    });
    for (let row = 0; row < rows; row += 1) {
      const who = user[row] ?? 0;
      const where = code[row] ?? 0;
      const shard = this.#shardOf(who);
      const base = shard.next();
      const { data } = shard;
      data[base] = 2 * who + (where & 1);
      data[base + 1] = this.#group(where);
      for (let column = 0; column < values.length; column += 1) {
        data[base + FIRST_COLUMN + column] = values[column]?.[row] ?? 0;
      }
    }
  }

  /** Adds to a column of the row of a user and place, when the walk comes there; nothing if there is no such row. */
  add(user: number, code: number, column: number, value: number): void {
    this.#shardOf(user).add(2 * user + (code & 1), this.#group(code), column, value);
  }

  /**
   * Visits all rows once, those of a user in one arm together. `row`: `data[base + 1]` is the row's group, `data[base + at(column)]` a number of
   * it. `end`: of the user in this arm.
   */
  walk(row: (data: Float64Array, base: number) => void, end: (canary: boolean) => void): void {
    for (const shard of this.#shards) shard.walk(row, end);
  }

  #shardOf(user: number): Shard {
    // The low bits place a user within the shard, the high ones choose it.
    return this.#shards[(hash(user) >>> 20) & (this.#shards.length - 1)] as Shard;
  }

  #group(code: number): number {
    let group = this.#groupOf.get(code);
    if (group === undefined) {
      group = this.groups.length;
      this.#groupOf.set(code, group);
      this.groups.push({ arm: (code & 1) === 0 ? 'stable' : 'canary', stratum: code >> 1 });
    }
    return group;
  }
}

/** Before the columns: the user and arm as one key, and the group. */
const FIRST_COLUMN = 2;

/** Rows of a shard: some megabytes. */
const SHARD_ROWS = 30_000;

function hash(key: number): number {
  const mixed = Math.imul(key, 0x9e3779b1);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

/** Numbers of an addition: key, group, column, value. */
const ADDITION = 4;

class Shard {
  readonly #width: number;
  data: Float64Array;
  #length = 0;
  #additions: number[] = [];

  /** @param room rows that it has room for, before it must grow */
  constructor(width: number, room: number) {
    this.#width = width;
    this.data = new Float64Array(room * width);
  }

  /** Makes room for a row. @returns where it begins; the row is all zeros */
  next(): number {
    const base = this.#length;
    this.#length += this.#width;
    if (this.#length > this.data.length) {
      const larger = new Float64Array(2 * this.data.length);
      larger.set(this.data);
      this.data = larger;
    }
    return base;
  }

  add(key: number, group: number, column: number, value: number): void {
    this.#additions.push(key, group, column, value);
  }

  walk(row: (data: Float64Array, base: number) => void, end: (canary: boolean) => void): void {
    const { data } = this;
    const width = this.#width;
    const rows = this.#length / width;
    const numbers = new Numbers(rows);
    const slotOf = new Int32Array(rows);
    for (let index = 0; index < rows; index += 1) slotOf[index] = numbers.of(data[index * width] ?? 0);

    // A counting sort: bases of the rows of slot s are order[starts[s]] … order[starts[s + 1] − 1].
    const starts = new Int32Array(numbers.size + 1);
    for (let index = 0; index < rows; index += 1)
      starts[(slotOf[index] ?? 0) + 1] = (starts[(slotOf[index] ?? 0) + 1] ?? 0) + 1;
    for (let slot = 1; slot < starts.length; slot += 1)
      starts[slot] = (starts[slot] ?? 0) + (starts[slot - 1] ?? 0);
    const next = starts.slice();
    const order = new Int32Array(rows);
    for (let index = 0; index < rows; index += 1) {
      const slot = slotOf[index] ?? 0;
      order[next[slot] ?? 0] = index * width;
      next[slot] = (next[slot] ?? 0) + 1;
    }

    const additions = this.#additions;
    for (let index = 0; index < additions.length; index += ADDITION) {
      const slot = numbers.find(additions[index] ?? 0);
      if (slot < 0) continue;
      for (let at = starts[slot] ?? 0; at < (starts[slot + 1] ?? 0); at += 1) {
        const base = order[at] ?? 0;
        if (data[base + 1] !== additions[index + 1]) continue;
        const column = base + (additions[index + 2] ?? 0);
        data[column] = (data[column] ?? 0) + (additions[index + 3] ?? 0);
        break;
      }
    }

    for (let slot = 0; slot < numbers.size; slot += 1) {
      const last = starts[slot + 1] ?? 0;
      for (let at = starts[slot] ?? 0; at < last; at += 1) row(data, order[at] ?? 0);
      end(((data[order[last - 1] ?? 0] ?? 0) & 1) === 1);
    }
  }
}

/** Numbers keys ≥ 0 from 0 on as they come, by open addressing: a Map of so many numbers is several times slower. */
class Numbers {
  readonly #keys: Float64Array;
  readonly #numbers: Int32Array;
  size = 0;

  /** @param most how many keys there may be */
  constructor(most: number) {
    const room = 2 ** Math.ceil(Math.log2(2 * most + 2));
    this.#keys = new Float64Array(room).fill(-1);
    this.#numbers = new Int32Array(room);
  }

  /** The key's number, a new one if it has none. */
  of(key: number): number {
    const at = this.#place(key);
    if (this.#keys[at] === key) return this.#numbers[at] ?? -1;
    this.#keys[at] = key;
    this.#numbers[at] = this.size;
    this.size += 1;
    return this.size - 1;
  }

  /** The key's number; -1 if it has none. */
  find(key: number): number {
    const at = this.#place(key);
    return this.#keys[at] === key ? (this.#numbers[at] ?? -1) : -1;
  }

  #place(key: number): number {
    const mask = this.#keys.length - 1;
    let at = hash(key) & mask;
    while (this.#keys[at] !== -1 && this.#keys[at] !== key) at = (at + 1) & mask;
    return at;
  }
}
