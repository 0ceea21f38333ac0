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
/** int8 arrives as a double: exact below 2^53, else refused. */
export type Column = Int32Array | Float64Array;

/** A column of a statement: an SQL expression, and its type. */
export type ColumnsWanted = Readonly<Record<string, readonly [expression: string, type: ColumnType]>>;

export type ColumnBlock<C extends ColumnsWanted = ColumnsWanted> = { readonly [Name in keyof C]: Column };

/**
 * The columns of `select … <from>`, each as one typed array; `from` is all that follows the select list. No values are NULL. Nothing is
 * escaped: the SQL is the caller's own.
 */
export async function readColumns<C extends ColumnsWanted>(
  tx: Transaction,
  columns: C,
  from: string,
): Promise<ColumnBlock<C>> {
  const names = Object.keys(columns);
  const list = Object.values(columns).map(([expression, type]) => `array_agg((${expression})::${type})`);
  const blocks: ColumnBlock<C>[] = [];
  await new Promise<void>((resolve, reject) => {
    const take = (chunk: Buffer) => {
      const block = readRow<C>(chunk, names);
      if (block !== null) blocks.push(block);
    };
    const done = (error?: Error) => (error ? reject(error) : resolve());
    tx.query(new CopyOut(`copy (select ${list.join(', ')} ${from}) to stdout (format binary)`, take, done));
  });
  const block = blocks[0];
  if (block === undefined || blocks.length > 1) throw new Error('an aggregate gives one row');
  return block;
}

/** "PGCOPY\n\377\r\n\0", flags and the length of an extension: before the first row. */
const HEADER = 19;
const TRAILER = -1;

/** Source: PostgreSQL's documentation of COPY, "Binary Format", and array_send. */
function readRow<C extends ColumnsWanted>(chunk: Buffer, names: readonly string[]): ColumnBlock<C> | null {
  let at = chunk.length >= HEADER && chunk.toString('latin1', 0, 6) === 'PGCOPY' ? HEADER : 0;
  if (at === chunk.length) return null;
  const fields = chunk.readInt16BE(at);
  if (fields === TRAILER) return null;
  if (fields !== names.length) throw new Error(`${fields} columns came, not ${names.length}`);
  at += 2;
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const block: Record<string, Column> = {};
  for (const name of names) {
    const length = view.getInt32(at);
    at += 4;
    block[name] = length < 0 ? new Int32Array(0) : readArray(view, at);
    at += Math.max(0, length);
  }
  return block as ColumnBlock<C>;
}

const OID_INT8 = 20;

function readArray(view: DataView, start: number): Column {
  const dimensions = view.getInt32(start);
  if (dimensions === 0) return new Int32Array(0);
  const type = view.getInt32(start + 8);
  const length = view.getInt32(start + 12);
  let at = start + 20;
  if (type !== OID_INT8) {
    const column = new Int32Array(length);
    for (let index = 0; index < length; index += 1, at += 8) column[index] = view.getInt32(at + 4);
    return column;
  }
  const column = new Float64Array(length);
  for (let index = 0; index < length; index += 1, at += 12) {
    const value = view.getInt32(at + 4) * 4294967296 + view.getUint32(at + 8);
    if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not exact in a double`);
    column[index] = value;
  }
  return column;
}
