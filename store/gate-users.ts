import type { Arm } from '../domain/words.ts';
import { type ColumnBlock, type ColumnsWanted, readColumns } from './copy.ts';
import type { Transaction } from './database.ts';

/** One row per (arm, stratum, user), a typed array each column: what pass 2 goes through once per request. */
export interface UserRows {
  length: number;
  /** Number of the (user, arm) that the row belongs to. */
  slot: Int32Array;
  /** Number of its (arm, stratum). */
  group: Int32Array;
  columns: Record<string, Float64Array | Int32Array>;
}

export interface Group {
  arm: Arm;
  stratum: number;
}

/** Numbers users within their arm, and arms within their strata, from 0 on, as they come. */
export class Numbering {
  readonly groups: Group[] = [];
  readonly #groupOf = new Map<number, number>();
  #keys = new Float64Array(1 << 12).fill(-1);
  #slots = new Int32Array(1 << 12);
  #size = 0;

  /** Slots so far. */
  get size(): number {
    return this.#size;
  }

  /** @param code 2·stratum, and 1 more on the canary */
  group(code: number): number {
    let group = this.#groupOf.get(code);
    if (group === undefined) {
      group = this.groups.length;
      this.#groupOf.set(code, group);
      this.groups.push({ arm: code % 2 === 0 ? 'stable' : 'canary', stratum: Math.floor(code / 2) });
    }
    return group;
  }

  /** Open addressing: a Map of a million numbers is five times slower. */
  slot(user: number, canary: number): number {
    const key = 2 * user + canary;
    const at = this.#find(key);
    if (this.#keys[at] === key) return this.#slots[at] ?? -1;
    this.#keys[at] = key;
    this.#slots[at] = this.#size;
    this.#size += 1;
    if (2 * this.#size > this.#keys.length) this.#grow();
    return this.#size - 1;
  }

  #find(key: number): number {
    const mask = this.#keys.length - 1;
    let at = Math.imul((key % 4294967296) | 0, 0x9e3779b1) >>> 0;
    at = (at ^ (at >>> 15)) & mask;
    while (this.#keys[at] !== -1 && this.#keys[at] !== key) at = (at + 1) & mask;
    return at;
  }

  #grow(): void {
    const [keys, slots] = [this.#keys, this.#slots];
    this.#keys = new Float64Array(2 * keys.length).fill(-1);
    this.#slots = new Int32Array(2 * keys.length);
    for (let index = 0; index < keys.length; index += 1) {
      const key = keys[index] ?? -1;
      if (key === -1) continue;
      const at = this.#find(key);
      this.#keys[at] = key;
      this.#slots[at] = slots[index] ?? -1;
    }
  }
}

/** Which of the users a pass reads at once: those whose number leaves `part` when divided by `of`. */
export interface Part {
  part: number;
  of: number;
}

export const everybody: Part = { part: 0, of: 1 };

export function partSql({ part, of }: Part): string {
  return of === 1 ? '' : `and user_id % ${of} = ${part}`;
}

/** Pages that one statement reads: some ten thousands of rows, so that a block is megabytes and several connections share the work. */
const PAGES = 1_000;

const place = {
  user: ['user_id', 'int8'],
  code: [`stratum * 2 + case arm when 'canary' then 1 else 0 end`, 'int4'],
} as const satisfies ColumnsWanted;

export interface Blocks {
  blocks: ColumnBlock[];
}

/**
 * Jobs that read a partition by ranges of its pages: each is a short statement, they go in any order, and side by side in transactions with
 * one snapshot. `where` narrows the rows.
 */
export async function tableJobs(
  tx: Transaction,
  partition: string,
  columns: ColumnsWanted,
  where: string,
  into: Blocks,
): Promise<((tx: Transaction) => Promise<void>)[]> {
  const { rows } = await tx.query<{ pages: number }>(
    `select pg_relation_size($1::regclass) / current_setting('block_size')::bigint as pages`,
    [partition],
  );
  const pages = rows[0]?.pages ?? 0;
  const wanted = { ...place, ...columns };
  return Array.from({ length: Math.ceil(pages / PAGES) }, (_, index) => async (on: Transaction) => {
    const range = `ctid >= '(${index * PAGES},0)' and ctid < '(${(index + 1) * PAGES},0)'`;
    into.blocks.push(await readColumns(on, wanted, `from ${partition} where ${range} ${where}`));
  });
}

/** The blocks as one table, its users and strata numbered. */
export function joined({ blocks }: Blocks, names: readonly string[], numbering: Numbering): UserRows {
  const length = blocks.reduce((sum, { user }) => sum + (user?.length ?? 0), 0);
  const rows: UserRows = { length, slot: new Int32Array(length), group: new Int32Array(length), columns: {} };
  for (const name of names) {
    const wide = blocks.some((block) => block[name] instanceof Float64Array);
    rows.columns[name] = wide ? new Float64Array(length) : new Int32Array(length);
  }
  let offset = 0;
  for (const block of blocks) {
    const { user, code } = block;
    if (user === undefined || code === undefined) throw new Error('a block without its place');
    for (let row = 0; row < user.length; row += 1) {
      const key = code[row] ?? 0;
      rows.slot[offset + row] = numbering.slot(user[row] ?? 0, key % 2);
      rows.group[offset + row] = numbering.group(key);
    }
    for (const name of names) rows.columns[name]?.set(block[name] ?? [], offset);
    offset += user.length;
  }
  return rows;
}
