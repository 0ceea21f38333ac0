import type { ArmInfluence, InfluenceRequest, InfluenceSums } from '../domain/gate/types.ts';
import type { Arm } from '../domain/words.ts';
import type { Queryable } from './database.ts';
import { experimentOfRelease } from './gate-totals.ts';

interface Row {
  arm: Arm;
  users: number;
  positive: number;
  n2: string;
  own2: string;
  asStable2: string;
  asCanary2: string;
}

const nobody: ArmInfluence = { users: 0, positive: 0, n2: 0n, own2: 0n, asStable2: 0n, asCanary2: 0n };

/** Pass 2: squares of the users' influences, as `InfluenceRequest` says. */
export async function readInfluences(
  db: Queryable,
  release: string,
  requests: readonly InfluenceRequest[],
): Promise<InfluenceSums[]> {
  const sums: InfluenceSums[] = [];
  for (const request of requests) {
    const { rows } = await db.query<Row>(influenceSql(request), [
      release,
      request.centre,
      request.rows.map((row) => row.arm),
      request.rows.map((row) => row.stratum),
      request.rows.map((row) => row.mean),
      request.rows.map((row) => row.pooledMean),
      request.rows.map((row) => row.own),
      request.rows.map((row) => row.asStable),
      request.rows.map((row) => row.asCanary),
    ]);
    const of = (arm: Arm): ArmInfluence => {
      const row = rows.find((candidate) => candidate.arm === arm);
      if (!row) return nobody;
      return {
        users: row.users,
        positive: request.above ? 0 : row.positive,
        n2: BigInt(row.n2),
        own2: BigInt(row.own2),
        asStable2: BigInt(row.asStable2),
        asCanary2: BigInt(row.asCanary2),
      };
    };
    sums.push({ guard: request.guard, arms: { stable: of('stable'), canary: of('canary') } });
  }
  return sums;
}

function influenceSql(request: InfluenceRequest): string {
  const rounded = (coefficient: string, mean: string) =>
    `sum(floor(k.${coefficient} * (c - k.${mean} * m) + 0.5))`;
  return `
    with k as (
      select * from unnest($3::arm[], $4::int[], $5::float8[], $6::float8[], $7::float8[], $8::float8[], $9::float8[])
        as k (arm, stratum, mean, pooled_mean, own, as_stable, as_canary)
    ), influences as (
      select arm, user_id, sum(m) as m, bool_or(positive) as positive,
             ${rounded('own', 'mean')} as own,
             ${rounded('as_stable', 'pooled_mean')} as as_stable,
             ${rounded('as_canary', 'pooled_mean')} as as_canary
        from (select arm, stratum, user_id, n::float8 as m, (sum - $2::bigint * n)::float8 as c, sum > 0 as positive
                from (${sourceOf(request)}) source) u
        join k using (arm, stratum)
       group by arm, user_id
    )
    select arm, count(*) as users, count(*) filter (where positive) as positive, sum(m::bigint * m::bigint) as n2,
           ${squares('own')} as own2, ${squares('as_stable')} as "asStable2", ${squares('as_canary')} as "asCanary2"
      from influences group by arm`;
}

/** Exact: as long as the limbs' products fit a bigint, the integer may have 57 bits. */
function squares(column: string): string {
  const limb = 67108864;
  const high = `floor(${column} / ${limb})`;
  const low = `(${column} - ${high} * ${limb})`;
  const sum = (product: string) => `sum((${product})::bigint)`;
  return `${sum(`${high} * ${high}`)} * ${limb} * ${limb} + 2 * ${sum(`${high} * ${low}`)} * ${limb} + ${sum(`${low} * ${low}`)}`;
}

const counted = new Set(['latency', 'ttft', 'tpot', 'cost']);

function sourceOf(request: InfluenceRequest): string {
  const rows = userRows(request.metric);
  if (!request.above) return rows;
  const { stable, canary } = request.above;
  const exceedance = (arm: { bucket: number; part: number }) =>
    `case when bucket > ${whole(arm.bucket)} then 1000000 else ${whole(arm.part)} end`;
  return `
    select arm, stratum, user_id, n, coalesce(above.sum, 0)::bigint as sum
      from (${rows}) counts left join (
        select arm, stratum, user_id, sum(n * case arm when 'stable' then ${exceedance(stable)} else ${exceedance(canary)} end) as sum
          from user_buckets
         where experiment = ${experimentOfRelease} and metric = '${request.metric}'
           and ((arm = 'stable' and bucket >= ${whole(stable.bucket)}) or (arm = 'canary' and bucket >= ${whole(canary.bucket)}))
         group by arm, stratum, user_id) above using (arm, stratum, user_id)`;
}

/** The per-user rows of a metric: (arm, stratum, user_id, n, sum). */
function userRows(metric: string): string {
  const from = (n: string, sum: string) =>
    `select arm, stratum, user_id, ${n} as n, ${sum} as sum from user_strata where experiment = ${experimentOfRelease}`;
  if (metric === 'error') return from('requests', 'errors * 1000000::bigint');
  if (metric === 'violation') return from('requests', 'violations * 1000000::bigint');
  if (counted.has(metric)) return `${from(`${metric}_n`, `${metric}_sum`)} and ${metric}_n > 0`;
  const evaluator = metric.replace(/^quality:/, '');
  return `select arm, stratum, user_id, n, sum from user_scores
           where experiment = ${experimentOfRelease} and evaluator = '${evaluator.replaceAll("'", "''")}'`;
}

function whole(value: number): number {
  if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not a whole number`);
  return value;
}
