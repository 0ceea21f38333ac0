import type { Database } from '../../store/database.ts';

/** What Postgres does for the statements that a judgement spends its time on. */
export async function explainJudgement(
  db: Database,
  release: string,
  say: (line: string) => void,
): Promise<void> {
  const { rows } = await db.query<{ id: number }>('select id from experiments where release = $1', [release]);
  const id = rows[0]?.id;
  const statements: [string, string][] = [
    [
      'Distinct users of each arm and stratum (pass 1)',
      `select arm, stratum, count(*), sum(requests)::bigint, count(*) filter (where latency_n > 0), count(*) filter (where ttft_n > 0),
              count(*) filter (where tpot_n > 0), count(*) filter (where cost_n > 0)
         from user_strata where experiment = ${id} group by arm, stratum`,
    ],
    [
      'A block of the users’ rows (pass 2, one of many)',
      `select string_agg(int8send(user_id), ''), string_agg(int8send(stratum * 2), ''), string_agg(int8send(requests), ''),
              string_agg(int8send(latency_sum), '')
         from user_strata_${id} where ctid >= '(1000,0)' and ctid < '(2000,0)'`,
    ],
    [
      'The tail beyond the 95th percentile (pass 2)',
      `select string_agg(int8send(user_id), ''), string_agg(int8send(stratum * 2), ''), string_agg(int8send(n), '')
         from user_buckets_${id} where experiment = ${id} and metric = 'latency' and arm = 'stable'
          and stratum = any('{0,64,128,192,256,320,384}') and bucket >= 25`,
    ],
  ];
  for (const [what, sql] of statements) {
    const plan = await db.query<Record<string, string>>(`explain (analyze, costs off, buffers off) ${sql}`);
    say(`\n${what}`);
    for (const row of plan.rows) say(`  ${Object.values(row)[0]}`);
  }
}
