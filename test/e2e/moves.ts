import type { Database, Queryable } from '../../store/database.ts';

/** One write of an application's route, in the order of the writes. */
export interface RouteWrite {
  release: string | null;
  weight: number;
  phase: number;
}

/** Lets the database itself note every write of a route, whoever makes it: a look now and then would miss one that came twice. */
export async function noteMoves(db: Database): Promise<void> {
  await db.query(`
    create table test_moves (id bigint generated always as identity, release text, weight float8, phase int);
    create function test_note_move() returns trigger language plpgsql as $$
      begin insert into test_moves (release, weight, phase) values (new.release, new.weight, new.phase); return null; end $$;
    create trigger test_note_move after insert or update on routes for each row execute function test_note_move()`);
}

export async function countMoves(db: Queryable): Promise<number> {
  const { rows } = await db.query<{ count: number }>('select count(*)::int as count from test_moves');
  return rows[0]?.count ?? 0;
}

export async function movesAfter(db: Queryable, count: number): Promise<RouteWrite[]> {
  const { rows } = await db.query<RouteWrite>(
    'select release, weight, phase from test_moves order by id offset $1',
    [count],
  );
  return rows;
}
