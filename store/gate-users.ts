import type { Arm } from '../domain/words.ts';
import { type Column, int8At } from './copy.ts';

/**
 * Per-user rows of one table in memory, laid out for one walk over all users: a row's numbers lie side by side, and the rows of a user within
 * an arm (a slot) can be visited together. Walking a million users costs a cache miss or two a row, whatever the number of requests.
 */
export class UserTable {
  readonly groups: { arm: Arm; stratum: number }[] = [];
  /** Numbers of a row: its group, then the columns, then what is added to it. */
  readonly #width: number;
  readonly #columns: readonly string[];
  readonly #chunks: Float64Array[] = [];
  readonly #slotsOf: Int32Array[] = [];
  readonly #groupOf = new Map<number, number>();
  readonly #numbers = new Numbers();
  #canary = new Uint8Array(0);
  /** Rows of slot s: `#order[#starts[s]]` … `#order[#starts[s + 1] - 1]`. */
  #starts = new Int32Array(1);
  #order = new Int32Array(0);

  /** @param added names of columns that begin at 0 and are added to later */
  constructor(columns: readonly string[], added: readonly string[]) {
    this.#columns = columns;
    this.#width = 1 + columns.length + added.length;
    this.at = new Map([...columns, ...added].map((name, index) => [name, index + 1]));
  }

  /** Where a column lies in a row. */
  readonly at: ReadonlyMap<string, number>;

  get slots(): number {
    return this.#starts.length - 1;
  }

  /** Takes a block of rows. `user`: their users; `code`: 2·stratum, and 1 more on the canary. */
  take(rows: number, columns: Readonly<Record<string, Column>>): void {
    if (rows > ROWS) throw new RangeError(`a block has at most ${ROWS} rows`);
    const { user, code } = columns;
    if (!user || !code) throw new Error('a block without its place');
    const chunk = new Float64Array(rows * this.#width);
    const slots = new Int32Array(rows);
    for (let row = 0; row < rows; row += 1) {
      const place = int8At(code, row);
      chunk[row * this.#width] = this.#group(place);
      slots[row] = this.#numbers.of(2 * int8At(user, row) + (place & 1));
    }
    for (const [index, name] of this.#columns.entries()) {
      const column = columns[name];
      if (!column) throw new Error(`a block without ${name}`);
      for (let row = 0; row < rows; row += 1) chunk[row * this.#width + index + 1] = int8At(column, row);
    }
    this.#chunks.push(chunk);
    this.#slotsOf.push(slots);
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

  /** After the last block: puts the rows of each slot together (a counting sort). */
  arrange(): void {
    const starts = new Int32Array(this.#numbers.size + 1);
    let rows = 0;
    for (const slots of this.#slotsOf) {
      rows += slots.length;
      for (let row = 0; row < slots.length; row += 1)
        starts[(slots[row] ?? 0) + 1] = (starts[(slots[row] ?? 0) + 1] ?? 0) + 1;
    }
    for (let slot = 1; slot < starts.length; slot += 1)
      starts[slot] = (starts[slot] ?? 0) + (starts[slot - 1] ?? 0);
    const next = starts.slice();
    const order = new Int32Array(rows);
    this.#canary = new Uint8Array(this.#numbers.size);
    for (const [index, slots] of this.#slotsOf.entries()) {
      const chunk = this.#chunks[index] ?? new Float64Array(0);
      for (let row = 0; row < slots.length; row += 1) {
        const slot = slots[row] ?? 0;
        const to = next[slot] ?? 0;
        order[to] = index * ROWS + row;
        next[slot] = to + 1;
        if (this.groups[chunk[row * this.#width] ?? 0]?.arm === 'canary') this.#canary[slot] = 1;
      }
    }
    this.#slotsOf.length = 0;
    this.#starts = starts;
    this.#order = order;
  }

  /** Adds to a column of the row of a user and place; nothing if there is no such row. */
  add(user: number, code: number, column: number, value: number): void {
    const slot = this.#numbers.find(2 * user + (code & 1));
    const group = this.#groupOf.get(code) ?? -1;
    if (slot < 0) return;
    for (let index = this.#starts[slot] ?? 0; index < (this.#starts[slot + 1] ?? 0); index += 1) {
      const row = this.#order[index] ?? 0;
      const chunk = this.#chunks[row >>> ROW_BITS];
      const base = (row & (ROWS - 1)) * this.#width;
      if (!chunk || chunk[base] !== group) continue;
      chunk[base + column] = (chunk[base + column] ?? 0) + value;
      return;
    }
  }

  /** Visits the rows slot by slot. `row`: a row's numbers are `chunk[base]` (its group), `chunk[base + at(column)]`… `end`: of a slot. */
  walk(row: (chunk: Float64Array, base: number) => void, end: (canary: boolean) => void): void {
    for (let slot = 0; slot < this.slots; slot += 1) {
      const last = this.#starts[slot + 1] ?? 0;
      for (let index = this.#starts[slot] ?? 0; index < last; index += 1) {
        const id = this.#order[index] ?? 0;
        const chunk = this.#chunks[id >>> ROW_BITS];
        if (chunk) row(chunk, (id & (ROWS - 1)) * this.#width);
      }
      end(this.#canary[slot] === 1);
    }
  }
}

/** A row is named by its block and its place there. */
const ROW_BITS = 19;
/** Rows that fit a block. */
export const ROWS = 1 << ROW_BITS;

/** Numbers keys ≥ 0 from 0 on as they come, by open addressing: a Map of a million numbers is five times slower. */
class Numbers {
  #keys = new Float64Array(1 << 12).fill(-1);
  #numbers = new Int32Array(1 << 12);
  size = 0;

  /** The key's number, a new one if it has none. */
  of(key: number): number {
    const at = this.#place(key);
    if (this.#keys[at] === key) return this.#numbers[at] ?? -1;
    this.#keys[at] = key;
    this.#numbers[at] = this.size;
    this.size += 1;
    if (2 * this.size > this.#keys.length) this.#grow();
    return this.size - 1;
  }

  /** The key's number; -1 if it has none. */
  find(key: number): number {
    const at = this.#place(key);
    return this.#keys[at] === key ? (this.#numbers[at] ?? -1) : -1;
  }

  #place(key: number): number {
    const mask = this.#keys.length - 1;
    let at = Math.imul(key, 0x9e3779b1) >>> 0;
    at = (at ^ (at >>> 15)) & mask;
    while (this.#keys[at] !== -1 && this.#keys[at] !== key) at = (at + 1) & mask;
    return at;
  }

  #grow(): void {
    const [keys, numbers] = [this.#keys, this.#numbers];
    this.#keys = new Float64Array(2 * keys.length).fill(-1);
    this.#numbers = new Int32Array(2 * keys.length);
    for (let index = 0; index < keys.length; index += 1) {
      const key = keys[index] ?? -1;
      if (key === -1) continue;
      const at = this.#place(key);
      this.#keys[at] = key;
      this.#numbers[at] = numbers[index] ?? -1;
    }
  }
}
