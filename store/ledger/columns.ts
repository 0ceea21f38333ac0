import type pg from 'pg';
import type { Transaction } from '../database.ts';

/** Column name → its Postgres type and one value a row. */
export type Columns = Record<string, [type: string, values: unknown[]]>;

/** Inserts many rows in one statement; `rest` is what follows, e.g. `on conflict do nothing`. */
export async function insertColumns<R extends pg.QueryResultRow>(
  tx: Transaction,
  table: string,
  columns: Columns,
  rest: string,
): Promise<R[]> {
  const entries = Object.entries(columns);
  if ((entries[0]?.[1][1].length ?? 0) === 0) return [];
  const { rows } = await tx.query<R>(
    `insert into ${table} as old (${entries.map(([name]) => name).join(', ')})
     select * from unnest(${entries.map(([, [type]], index) => `$${index + 1}::${type}[]`).join(', ')}) ${rest}`,
    entries.map(([, [, values]]) => values),
  );
  return rows;
}

/**
 * Inserts rows, or adds the columns of `added` to the rows that are there; all other columns are the key.
 * @returns of each row the columns that `returning` names, in any order
 */
export async function upsertAdding<R extends pg.QueryResultRow>(
  tx: Transaction,
  table: string,
  added: readonly string[],
  columns: Columns,
  returning = '',
): Promise<R[]> {
  const key = Object.keys(columns).filter((name) => !added.includes(name));
  return insertColumns<R>(
    tx,
    table,
    columns,
    `on conflict (${key.join(', ')}) do update
       set ${added.map((name) => `${name} = old.${name} + excluded.${name}`).join(', ')}
     ${returning === '' ? '' : `returning ${returning}`}`,
  );
}
