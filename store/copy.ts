import type pg from 'pg';
import type { Transaction } from './database.ts';

type ErrorHandler = (error: Error) => void;

/**
 * `COPY (select …) TO STDOUT (FORMAT binary)` as a query of pg: millions of numbers arrive as they are stored, without becoming text or
 * objects on the way.
 */
class CopyOut implements pg.Submittable {
  readonly #sql: string;
  readonly #take: (chunk: Buffer) => void;
  readonly #done: (error?: Error) => void;
  #failure: Error | undefined;

  constructor(sql: string, take: (chunk: Buffer) => void, done: (error?: Error) => void) {
    this.#sql = sql;
    this.#take = take;
    this.#done = done;
  }

  submit(connection: pg.Connection): void {
    connection.query(this.#sql);
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    if (this.#failure !== undefined) return;
    try {
      this.#take(chunk);
    } catch (error) {
      this.#failure = error as Error;
    }
  }

  handleCommandComplete(): void {}

  handleError: ErrorHandler = (error) => this.#done(error);

  handleReadyForQuery(): void {
    this.#done(this.#failure);
  }
}

export type ColumnType = 'int4' | 'int8';

/** Columns of a statement by name: an SQL expression that gives no NULL, and its type. */
export type ColumnsWanted = Readonly<Record<string, readonly [expression: string, type: ColumnType]>>;

/** The bytes of a column's numbers, one after the other, big-endian. */
export interface Column {
  bytes: DataView;
  /** 4 or 8 */
  width: number;
}

/** The columns of `select … <from>`. Nothing is escaped: the SQL is the caller's own. */
export async function readColumns<C extends ColumnsWanted>(
  tx: Transaction,
  wanted: C,
  from: string,
): Promise<{ rows: number; columns: { [Name in keyof C]: Column } }> {
  const names = Object.keys(wanted);
  const types = Object.values(wanted);
  const list = types.map(([expression, type]) => `string_agg(${type}send(${expression}), '')`);
  const found: DataView[][] = [];
  await new Promise<void>((resolve, reject) => {
    const take = (chunk: Buffer) => {
      const row = readRow(chunk);
      if (row !== null) found.push(row);
    };
    const done = (error?: Error) => (error ? reject(error) : resolve());
    tx.query(new CopyOut(`copy (select ${list.join(', ')} ${from}) to stdout (format binary)`, take, done));
  });
  const [row] = found;
  if (row?.length !== names.length) throw new Error('an aggregate gives one row');
  const columns = row.map((bytes, index): Column => ({ bytes, width: types[index]?.[1] === 'int8' ? 8 : 4 }));
  return {
    rows: columns[0] === undefined ? 0 : columns[0].bytes.byteLength / columns[0].width,
    columns: Object.fromEntries(names.map((name, index) => [name, columns[index]])) as {
      [Name in keyof C]: Column;
    },
  };
}

/** @throws RangeError when it is not exact in a double */
export function numberAt({ bytes, width }: Column, row: number): number {
  if (width === 4) return bytes.getInt32(4 * row);
  const value = bytes.getInt32(8 * row) * 4294967296 + bytes.getUint32(8 * row + 4);
  if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not exact in a double`);
  return value;
}

/** "PGCOPY\n\377\r\n\0", flags and the length of an extension: before the first row. */
const HEADER = 19;
const TRAILER = -1;

/** The fields of a row. Source: PostgreSQL's documentation of COPY, "Binary Format". */
function readRow(chunk: Buffer): DataView[] | null {
  let at = chunk.length >= HEADER && chunk.toString('latin1', 0, 6) === 'PGCOPY' ? HEADER : 0;
  if (at === chunk.length) return null;
  const fields = chunk.readInt16BE(at);
  if (fields === TRAILER) return null;
  at += 2;
  return Array.from({ length: fields }, () => {
    // -1: NULL, the aggregate of no rows.
    const length = Math.max(0, chunk.readInt32BE(at));
    const view = new DataView(chunk.buffer, chunk.byteOffset + at + 4, length);
    at += 4 + length;
    return view;
  });
}
