import { addedSums, nobody } from '../domain/gate/influence.ts';
import { FIXED_POINT } from '../domain/gate/metrics.ts';
import type { InfluenceRequest, InfluenceSums } from '../domain/gate/types.ts';
import { type ColumnsWanted, readColumns } from './copy.ts';
import type { Transaction } from './database.ts';
import { type TallyRequest, tally } from './gate-tally.ts';
import { UserTable } from './gate-users.ts';

/** What is asked of the per-user rows of an experiment. */
export interface Scan {
  experiment: number;
  requests: readonly InfluenceRequest[];
  /** About how many rows there are. */
  rows: number;
}

/** One of `of` equal parts of the users. */
export interface Part {
  part: number;
  of: number;
}

/** Pages that one statement reads: some ten thousand rows, a block of a megabyte or two. */
const PAGES = 250;

/** The sums of the requests over the users of the parts, on one connection. */
export async function influencesOf(
  tx: Transaction,
  scan: Scan,
  parts: readonly Part[],
): Promise<InfluenceSums[]> {
  const sources = sourcesOf(scan.requests);
  let sums = scan.requests.map(({ guard }) => ({ guard, arms: { stable: nobody, canary: nobody } }));
  for (const part of parts) {
    const found = new Map<string, InfluenceSums>();
    for (const source of sources) {
      for (const more of await influencesFrom(tx, scan, source, part)) found.set(more.guard, more);
    }
    sums = addedSums(
      sums,
      sums.map((none) => found.get(none.guard) ?? none),
    );
  }
  return sums;
}

async function influencesFrom(
  tx: Transaction,
  { experiment, rows: all }: Scan,
  { table, where, requests }: Source,
  { part, of }: Part,
): Promise<InfluenceSums[]> {
  const tails = requests.filter(({ request }) => request.above !== null);
  const stored = requests.filter(({ request }) => request.above === null).map(({ sum }) => sum);
  const columns = [...new Set([...requests.map(({ n }) => n), ...stored])];
  const rows = new UserTable(
    columns,
    tails.map(({ sum }) => sum),
    all / of,
  );
  const users = of === 1 ? '' : `and user_id % ${of} = ${part}`;
  await readRows(tx, `${table}_${experiment}`, columns, `${where} ${strataSql(requests)} ${users}`, rows);
  for (const tail of tails) await readTail(tx, experiment, tail, users, rows);
  const found = tally(rows, requests);
  return requests.map(({ request: { guard } }, index) => ({
    guard,
    arms: found[index] ?? { stable: nobody, canary: nobody },
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

/** Leaves out what no request asks for, as far as that is cheap. */
function strataSql(requests: readonly TallyRequest[]): string {
  const strata = requests.flatMap(({ request }) => request.rows.map(({ stratum }) => stratum));
  const first = strata.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const last = strata.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return `and stratum between ${first} and ${last}`;
}

/** Reads a partition by ranges of its pages: many short statements. */
async function readRows(
  tx: Transaction,
  partition: string,
  columns: readonly string[],
  filter: string,
  into: UserTable,
): Promise<void> {
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
  const pages = found.rows[0]?.pages ?? 0;
  const read = (page: number) =>
    page < pages
      ? readColumns(
          tx,
          wanted,
          `from ${partition} where ctid >= '(${page},0)' and ctid < '(${page + PAGES},0)' ${filter}`,
        )
      : null;
  let coming = read(0);
  for (let page = PAGES; coming !== null; page += PAGES) {
    const block = await coming;
    // Postgres makes the next block while this one is taken in.
    coming = read(page);
    into.take(block.rows, block.columns);
  }
}

/**
 * Reads the buckets at and above each arm's percentile, some 5 % of the histogram, through its key, and adds to each row 1e6·n above that
 * bucket and part·n within it.
 */
async function readTail(
  tx: Transaction,
  experiment: number,
  { request: { metric, above, rows }, sum }: TallyRequest,
  users: string,
  into: UserTable,
): Promise<void> {
  if (above === null) return;
  const column = into.at.get(sum) ?? 0;
  for (const arm of ['stable', 'canary'] as const) {
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
      into.add(user[row] ?? 0, code[row] ?? 0, column, worth[row] ?? 0);
  }
}
