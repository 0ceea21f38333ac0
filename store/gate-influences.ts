import { FIXED_POINT } from '../domain/gate/metrics.ts';
import type { ArmInfluence, InfluenceRequest, InfluenceSums } from '../domain/gate/types.ts';
import type { Arm } from '../domain/words.ts';
import { type ColumnsWanted, numberAt, readColumns } from './copy.ts';
import type { Transaction } from './database.ts';
import type { Snapshot } from './gate-snapshot.ts';
import { added, nobody, type TallyRequest, tally } from './gate-tally.ts';
import { UserTable } from './gate-users.ts';

/** Rows of users that are held in memory at once, some 120 bytes each; more are taken in parts, user by user. */
const ROWS_AT_ONCE = 6_000_000;

/** Fewer rows are not worth a second connection. */
const WORTH_TWO = 100_000;

/** Pages that one statement reads: some ten thousands of rows, so that a block is megabytes and two connections share the work. */
const PAGES = 1_000;

type Job = (tx: Transaction) => Promise<void>;

/**
 * Pass 2: squares of the users' influences, as `InfluenceRequest` says. Postgres reads the per-user rows in one scan for all requests and
 * sends them as columns of numbers; the arithmetic is done here, where a row costs nanoseconds. @param rows about how many rows there are
 */
export async function readInfluences(
  snapshot: Snapshot,
  experiment: number,
  requests: readonly InfluenceRequest[],
  rows: number,
): Promise<InfluenceSums[]> {
  const sources = sourcesOf(requests);
  const parts = Math.max(1, Math.ceil((rows * sources.length) / ROWS_AT_ONCE));
  const sums = new Map<string, Record<Arm, ArmInfluence>>();
  for (let part = 0; part < parts; part += 1) {
    const users = parts === 1 ? '' : `and user_id % ${parts} = ${part}`;
    for (const [guard, { stable, canary }] of await influencesOf(
      snapshot,
      experiment,
      sources,
      users,
      rows / parts,
    )) {
      const sum = sums.get(guard) ?? { stable: nobody, canary: nobody };
      sums.set(guard, { stable: added(sum.stable, stable), canary: added(sum.canary, canary) });
    }
  }
  return requests.map(({ guard }) => ({
    guard,
    arms: sums.get(guard) ?? { stable: nobody, canary: nobody },
  }));
}

/** What is read in one scan. */
interface Source {
  table: 'user_strata' | 'user_scores';
  where: string;
  requests: TallyRequest[];
}

function sourcesOf(requests: readonly InfluenceRequest[]): Source[] {
  const sources = new Map<string, Source>();
  for (const request of requests) {
    const score = request.metric.startsWith('quality:');
    const evaluator = request.metric.slice('quality:'.length).replaceAll("'", "''");
    const source = sources.get(score ? request.metric : '') ?? {
      table: score ? 'user_scores' : 'user_strata',
      where: score ? `and evaluator = '${evaluator}'` : '',
      requests: [],
    };
    sources.set(score ? request.metric : '', source);
    source.requests.push({ request, ...columnsOf(request) });
  }
  return [...sources.values()];
}

function columnsOf({ metric, above, guard }: InfluenceRequest): Omit<TallyRequest, 'request'> {
  if (metric.startsWith('quality:')) return { n: 'n', sum: 'sum', unit: 1 };
  if (metric === 'error') return { n: 'requests', sum: 'errors', unit: FIXED_POINT };
  if (metric === 'violation') return { n: 'requests', sum: 'violations', unit: FIXED_POINT };
  return { n: `${metric}_n`, sum: above ? guard : `${metric}_sum`, unit: 1 };
}

async function influencesOf(
  snapshot: Snapshot,
  experiment: number,
  sources: readonly Source[],
  users: string,
  expected: number,
): Promise<[guard: string, arms: Record<Arm, ArmInfluence>][]> {
  const jobs: Job[] = [];
  const tables: [UserTable, TallyRequest[]][] = [];
  for (const { table, where, requests } of sources) {
    const tails = requests.filter(({ request }) => request.above !== null);
    const stored = requests.filter(({ request }) => request.above === null).map(({ sum }) => sum);
    const columns = [...new Set([...requests.map(({ n }) => n), ...stored])];
    const rows = new UserTable(
      columns,
      tails.map(({ sum }) => sum),
      expected,
    );
    const filter = `${where} ${strataSql(requests)} ${users}`;
    jobs.push(...(await rowJobs(snapshot.tx, `${table}_${experiment}`, columns, filter, rows)));
    jobs.push(...tails.flatMap((tail) => tailJobs(experiment, tail, users, rows)));
    tables.push([rows, requests]);
  }
  await snapshot.run(jobs, expected > WORTH_TWO);
  return tables.flatMap(([rows, requests]) => {
    const found = tally(rows, requests);
    return requests.map(({ request }, index): [string, Record<Arm, ArmInfluence>] => [
      request.guard,
      found[index] ?? { stable: nobody, canary: nobody },
    ]);
  });
}

/** Leaves out what no request asks for, as far as that is cheap. */
function strataSql(requests: readonly TallyRequest[]): string {
  const strata = requests.flatMap(({ request }) => request.rows.map(({ stratum }) => stratum));
  const first = strata.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const last = strata.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return `and stratum between ${first} and ${last}`;
}

/** Jobs that read a partition by ranges of its pages: short statements, in any order, side by side. */
async function rowJobs(
  tx: Transaction,
  partition: string,
  columns: readonly string[],
  filter: string,
  into: UserTable,
): Promise<Job[]> {
  const found = await tx.query<{ pages: number }>(
    `select pg_relation_size($1::regclass) / current_setting('block_size')::bigint as pages`,
    [partition],
  );
  const wanted: ColumnsWanted = {
    user: ['user_id', 'int8'],
    code: [`stratum * 2 + case arm when 'canary' then 1 else 0 end`, 'int4'],
    ...Object.fromEntries(
      columns.map((column) => [column, [column, column.endsWith('sum') ? 'int8' : 'int4']]),
    ),
  };
  return Array.from(
    { length: Math.ceil((found.rows[0]?.pages ?? 0) / PAGES) },
    (_, index) => async (on: Transaction) => {
      const range = `ctid >= '(${index * PAGES},0)' and ctid < '(${(index + 1) * PAGES},0)'`;
      const block = await readColumns(on, wanted, `from ${partition} where ${range} ${filter}`);
      into.take(block.rows, block.columns);
    },
  );
}

/**
 * Jobs that read the buckets at and above each arm's percentile, some 5 % of the histogram, through its key, and add to each row
 * 1e6·n above that bucket and part·n within it.
 */
function tailJobs(
  experiment: number,
  { request: { metric, above, rows }, sum }: TallyRequest,
  users: string,
  into: UserTable,
): Job[] {
  if (above === null) return [];
  const column = into.at.get(sum) ?? 0;
  return (['stable', 'canary'] as const).map((arm) => async (tx: Transaction) => {
    const { bucket: edge, part } = above[arm];
    const strata = rows.filter((row) => row.arm === arm).map((row) => row.stratum);
    const tail = await readColumns(
      tx,
      {
        user: ['user_id', 'int8'],
        code: [`stratum * 2 + ${arm === 'canary' ? 1 : 0}`, 'int4'],
        worth: [`n::bigint * case when bucket = ${edge} then ${part} else ${FIXED_POINT} end`, 'int8'],
      },
      `from user_buckets_${experiment} where experiment = ${experiment} and metric = '${metric}' and arm = '${arm}'
         and stratum = any('{${strata.join(',')}}') and bucket >= ${edge} ${users}`,
    );
    const { user, code, worth } = tail.columns;
    for (let row = 0; row < tail.rows; row += 1)
      into.add(numberAt(user, row), numberAt(code, row), column, numberAt(worth, row));
  });
}
