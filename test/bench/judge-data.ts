import type { Database } from '../../store/database.ts';

export interface LedgerSize {
  application: string;
  release: string;
  users: number;
  /** Requests per user on the average; users differ as an exponential distribution does. */
  requestsPerUser: number;
  days: number;
  weight: number;
}

/** The standard normal from two uniforms, in SQL. */
const normal = 'sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())';

/**
 * Fills the ledger's statistics of one release with what so many requests would have left there, by SQL alone: users with different
 * activity, speed and quality; every request with latency and cost, every second user streaming, a fifth of the answers scored. Rows lie in
 * the order in which days pass, as real ones do. The samples themselves are not made: a judgement does not read them.
 */
export async function fillLedger(db: Database, size: LedgerSize, say: (line: string) => void): Promise<void> {
  const { application, release, users, requestsPerUser, days, weight } = size;
  const { rows } = await db.query<{ id: number }>('select open_experiment($1, $2) as id', [
    application,
    release,
  ]);
  const id = rows[0]?.id;
  if (id === undefined) throw new Error('no experiment');
  const run = async (what: string, sql: string) => {
    const started = performance.now();
    const { rowCount } = await db.query(sql);
    say(`${what}: ${rowCount ?? 0} rows, ${((performance.now() - started) / 1000).toFixed(1)} s`);
  };
  await run('seed', 'select setseed(0.42)');
  await run(
    'people',
    `create unlogged table bench_people as
       select user_id, case when random() < ${weight} then 'canary'::arm else 'stable' end as arm,
              -ln(1 - random()) * ${requestsPerUser - 1} as activity, 0.4 * ${normal} as slow, 0.1 * ${normal} as good, user_id % 2 = 0 as streams
         from generate_series(1, ${users}) as user_id`,
  );
  // A user comes on few days and asks several times on each.
  await run(
    'visits',
    `create unlogged table bench_visits as
       select day * 64 as stratum, p.*, greatest(1, floor(activity / least(${days}, 1 + floor(activity / 3)) + random() + 0.5))::int as requests
         from generate_series(0, ${days - 1}) as day cross join bench_people p
        where day = user_id % ${days} or random() + 0 * day < least(${days}, floor(activity / 3)) / ${days}
        order by day, random()`,
  );
  await run('requests', 'select sum(requests) from bench_visits');
  await withoutIndexes(db, 'user_strata', id, (table) =>
    run(
      'user_strata',
      `insert into ${table}
         select ${id}, user_id, stratum, arm, requests, errors, (random() < 0.003)::int,
                requests, streamed, streamed, requests,
                round(1e6 * (requests * slow + sqrt(requests) * 0.5 * ${normal})),
                case when streams then round(1e6 * (streamed * (slow - 1.5) + sqrt(requests) * 0.4 * ${normal})) else 0 end,
                case when streams then round(1e6 * (streamed * (0.3 * slow - 4) + sqrt(requests) * 0.2 * ${normal})) else 0 end,
                round(1e6 * (requests * (0.5 * slow - 7) + sqrt(requests) * 0.3 * ${normal}))
           from (select *, (random() < 0.01 * requests)::int as errors, case when streams then requests else 0 end as streamed
                   from bench_visits) v`,
    ),
  );
  await withoutIndexes(db, 'user_scores', id, (table) =>
    run(
      'user_scores',
      `insert into ${table}
         select ${id}, 'judge', user_id, stratum, arm, scored, round(1e6 * scored * least(1, greatest(0, 0.8 + good + 0.2 * ${normal} / sqrt(scored))))
           from (select *, floor(requests * 0.2 + random())::int as scored from bench_visits) v where scored > 0`,
    ),
  );
  await withoutIndexes(db, 'user_buckets', id, (table) =>
    run(
      'user_buckets',
      `insert into ${table}
         select ${id}, metric, arm, stratum, floor((level + spread * (slow + 0.5 * ${normal})) / ln(1.05))::smallint as bucket, user_id, count(*)
           from bench_visits cross join lateral generate_series(1, requests)
           cross join (values ('latency', 0.0, 1.0), ('ttft', -1.5, 1.0), ('tpot', -4.0, 0.4)) as m (metric, level, spread)
          where metric = 'latency' or streams
          group by metric, arm, stratum, bucket, user_id`,
    ),
  );
  await withoutIndexes(db, 'experiment_users', id, (table) =>
    run(
      'experiment_users',
      `insert into ${table}
         select ${id}, user_id, sum(case arm when 'stable' then requests else 0 end), sum(case arm when 'canary' then requests else 0 end),
                min(stratum), min(stratum) filter (where errors > 0), min(arm) filter (where errors > 0)
           from user_strata where experiment = ${id} group by user_id`,
    ),
  );
  await run(
    'stratum_totals',
    `insert into stratum_totals
       select experiment, metric, arm, stratum, sum(n), sum(sum), round(sum(sum * sum::numeric / n)), count(*) from user_totals
        where experiment = ${id} group by 1, 2, 3, 4`,
  );
  await run(
    'stratum_buckets',
    `insert into stratum_buckets
       select experiment, metric, arm, stratum, bucket, sum(n) from user_buckets where experiment = ${id} group by 1, 2, 3, 4, 5`,
  );
  await run('drop', 'drop table bench_people, bench_visits');
}

/** Loads a partition before its key is made: that is quicker, and packs the same. */
async function withoutIndexes(
  db: Database,
  parent: string,
  id: number,
  load: (table: string) => Promise<void>,
): Promise<void> {
  const table = `${parent}_${id}`;
  await db.query(`alter table ${parent} detach partition ${table}`);
  await db.query(`drop table ${table}`);
  await db.query(`create table ${table} (like ${parent} including defaults)`);
  await load(table);
  const { rows } = await db.query<{ definition: string }>(
    `select pg_get_constraintdef(oid) as definition from pg_constraint where conrelid = $1::regclass and contype = 'p'`,
    [parent],
  );
  await db.query(`alter table ${table} add ${rows[0]?.definition ?? ''}`);
  await db.query(`alter table ${parent} attach partition ${table} for values in (${id})`);
  await db.query(`vacuum (analyze) ${table}`);
}
