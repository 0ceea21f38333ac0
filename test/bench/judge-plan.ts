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
      'Users by their first request and first error (pass 1; the other totals are small tables)',
      `select case when stable_requests > 0 then 'stable'::arm else 'canary' end, first_stratum, first_error_arm, first_error_stratum, count(*)
         from experiment_users where experiment = ${id} group by 1, 2, 3, 4`,
    ],
    [
      'A block of the users’ rows (pass 2, one of many)',
      `select string_agg(int8send(user_id), ''), string_agg(int8send(stratum * 2), ''), string_agg(int8send(requests), ''),
              string_agg(int8send(latency_sum), '')
         from user_strata_${id} where ctid >= '(1000,0)' and ctid < '(1250,0)' and stratum between 0 and 384 and user_id % 2 = 0`,
    ],
    [
      'A block of their scores (pass 2, one of many)',
      `select string_agg(int8send(user_id), ''), string_agg(int8send(stratum * 2), ''), string_agg(int8send(n), ''), string_agg(int8send(sum), '')
         from user_scores_${id} where ctid >= '(1000,0)' and ctid < '(1250,0)' and evaluator = 'judge' and stratum between 0 and 384
          and user_id % 2 = 0`,
    ],
    [
      'The tail beyond the 95th percentile (pass 2)',
      `select string_agg(int8send(user_id), ''), string_agg(int8send(stratum * 2), ''), string_agg(int8send(n), '')
         from user_buckets_${id} where experiment = ${id} and metric = 'latency' and arm = 'stable'
          and stratum = any('{0,64,128,192,256,320,384}') and bucket >= 25 and user_id % 2 = 0`,
    ],
  ];
  for (const [what, sql] of statements) {
    const plan = await db.query<Record<string, string>>(`explain (analyze, costs off, buffers off) ${sql}`);
    say(`\n${what}`);
    for (const row of plan.rows) say(`  ${Object.values(row)[0]}`);
  }
}
