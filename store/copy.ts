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

/** The columns of `select … <from>`. Nothing is escaped: the SQL is the caller's own. @throws RangeError when a number is not exact in a double */
export async function readColumns<C extends ColumnsWanted>(
  tx: Transaction,
  wanted: C,
  from: string,
): Promise<{ rows: number; columns: { [Name in keyof C]: Float64Array } }> {
  const names = Object.keys(wanted);
  const types = Object.values(wanted);
  const list = types.map(([expression, type]) => `string_agg(${type}send(${expression}), '')`);
  const found: Float64Array[][] = [];
  await new Promise<void>((resolve, reject) => {
    const take = (chunk: Buffer) => {
      const fields = readRow(chunk);
      if (fields !== null)
        found.push(fields.map((bytes, index) => readers[types[index]?.[1] ?? 'int4'](bytes)));
    };
    const done = (error?: Error) => (error ? reject(error) : resolve());
    tx.query(new CopyOut(`copy (select ${list.join(', ')} ${from}) to stdout (format binary)`, take, done));
  });
  const [columns] = found;
  if (columns?.length !== names.length) throw new Error('an aggregate gives one row');
  return {
    rows: columns[0]?.length ?? 0,
    columns: Object.fromEntries(names.map((name, index) => [name, columns[index]])) as {
      [Name in keyof C]: Float64Array;
    },
  };
}

/** Postgres sends numbers big-endian. */
const readers: Readonly<Record<ColumnType, (bytes: DataView) => Float64Array>> = {
  int4: (bytes) => {
    const numbers = new Float64Array(bytes.byteLength / 4);
    for (let index = 0; index < numbers.length; index += 1) numbers[index] = bytes.getInt32(4 * index);
    return numbers;
  },
  int8: (bytes) => {
    const numbers = new Float64Array(bytes.byteLength / 8);
    for (let index = 0; index < numbers.length; index += 1) {
      const high = bytes.getInt32(8 * index);
      const number = high * 4_294_967_296 + bytes.getUint32(8 * index + 4);
      if (high >= HIGH || high < -HIGH) throw new RangeError(`${number} is not exact in a double`);
      numbers[index] = number;
    }
    return numbers;
  },
};

/** The upper half of 2^53. */
const HIGH = 2 ** 21;

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
