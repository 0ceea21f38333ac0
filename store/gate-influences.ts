import { FIXED_POINT } from '../domain/gate/metrics.ts';
import type { ArmInfluence, InfluenceRequest, InfluenceSums } from '../domain/gate/types.ts';
import type { Arm } from '../domain/words.ts';
import { type ColumnsWanted, readColumns } from './copy.ts';
import type { Transaction } from './database.ts';
import type { Snapshot } from './gate-snapshot.ts';
import { added, type MetricColumns, nobody, tally } from './gate-tally.ts';
import {
  type Blocks,
  joined,
  Numbering,
  type Part,
  partSql,
  tableJobs,
  type UserRows,
} from './gate-users.ts';

/** Rows of users that are held in memory at once, some 60 bytes each; more are taken in parts, user by user. */
const ROWS_AT_ONCE = 4_000_000;

type Job = (tx: Transaction) => Promise<void>;

/**
 * Pass 2: squares of the users' influences, as `InfluenceRequest` says. Postgres reads the per-user rows in one scan for all requests and
 * sends them as columns of numbers; the arithmetic is done here, where a row costs nanoseconds. @param rows how many rows there are
 */
export async function readInfluences(
  snapshot: Snapshot,
  experiment: number,
  requests: readonly InfluenceRequest[],
  rows: number,
): Promise<InfluenceSums[]> {
  let sums: Record<Arm, ArmInfluence>[] = requests.map(() => ({ stable: nobody, canary: nobody }));
  const of = Math.max(1, Math.ceil(rows / ROWS_AT_ONCE));
  for (let part = 0; part < of; part += 1) {
    const more = await influencesOfPart(snapshot, experiment, requests, { part, of });
    sums = sums.map((sum, index) => ({
      stable: added(sum.stable, more[index]?.stable ?? nobody),
      canary: added(sum.canary, more[index]?.canary ?? nobody),
    }));
  }
  return requests.map(({ guard }, index) => ({
    guard,
    arms: sums[index] ?? { stable: nobody, canary: nobody },
  }));
}

async function influencesOfPart(
  snapshot: Snapshot,
  experiment: number,
  requests: readonly InfluenceRequest[],
  part: Part,
): Promise<Record<Arm, ArmInfluence>[]> {
  const numbering = new Numbering();
  const sources = new Map<string, { table: Table; blocks: Blocks }>();
  for (const { metric } of requests) {
    const table = tableOf(metric);
    if (!sources.has(table.name)) sources.set(table.name, { table, blocks: { blocks: [] } });
  }
  const jobs: Job[] = [];
  for (const { table, blocks } of sources.values()) {
    const columns = wantedColumns(table, requests);
    const where = `${table.where} ${strataSql(requests)} ${partSql(part)}`;
    jobs.push(...(await tableJobs(snapshot.tx, `${table.partition}_${experiment}`, columns, where, blocks)));
  }
  await snapshot.run(jobs);

  const rowsOf = new Map<string, UserRows>();
  for (const [name, { table, blocks }] of sources) {
    rowsOf.set(name, joined(blocks, Object.keys(wantedColumns(table, requests)), numbering));
  }
  const tails = await readTails(snapshot, experiment, requests, part);
  const sums: Record<Arm, ArmInfluence>[] = [];
  for (const [index, request] of requests.entries()) {
    const table = tableOf(request.metric);
    const rows = rowsOf.get(table.name);
    if (!rows) throw new Error(`no rows of ${table.name}`);
    const tail = tails.get(index);
    const exceedances = tail ? exceedancesOf(request, tail, rows, numbering) : null;
    sums.push(
      tally(request, table.columns(request.metric), rows, numbering.groups, numbering.size, exceedances),
    );
  }
  return sums;
}

// ---- where metrics lie ---------------------------------------------------------------------------------------------------------------

interface Table {
  name: string;
  partition: 'user_strata' | 'user_scores';
  where: string;
  columns: (metric: string) => MetricColumns;
  types: (column: string) => 'int4' | 'int8';
}

const type = (column: string) => (column.endsWith('sum') ? 'int8' : 'int4');

const strata: Table = {
  name: 'user_strata',
  partition: 'user_strata',
  where: '',
  types: type,
  columns: (metric) => {
    if (metric === 'error') return { n: 'requests', sum: 'errors', unit: FIXED_POINT };
    if (metric === 'violation') return { n: 'requests', sum: 'violations', unit: FIXED_POINT };
    return { n: `${metric}_n`, sum: `${metric}_sum`, unit: 1 };
  },
};

function tableOf(metric: string): Table {
  if (!metric.startsWith('quality:')) return strata;
  const evaluator = metric.slice('quality:'.length).replaceAll("'", "''");
  return {
    name: metric,
    partition: 'user_scores',
    where: `and evaluator = '${evaluator}'`,
    types: type,
    columns: () => ({ n: 'n', sum: 'sum', unit: 1 }),
  };
}

function wantedColumns(table: Table, requests: readonly InfluenceRequest[]): ColumnsWanted {
  const columns: Record<string, readonly [string, 'int4' | 'int8']> = {};
  for (const { metric } of requests) {
    if (tableOf(metric).name !== table.name) continue;
    const { n, sum } = table.columns(metric);
    for (const column of [n, sum]) columns[column] = [column, table.types(column)];
  }
  return columns;
}

/** Leaves out what no request asks for, as far as that is cheap. */
function strataSql(requests: readonly InfluenceRequest[]): string {
  let [first, last] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const { rows } of requests) {
    for (const { stratum } of rows) {
      first = Math.min(first, stratum);
      last = Math.max(last, stratum);
    }
  }
  return `and stratum between ${first} and ${last}`;
}

// ---- the tails of the histograms -----------------------------------------------------------------------------------------------------

interface Tail {
  blocks: { [Name in 'user' | 'code' | 'bucket' | 'n']: ArrayLike<number> }[];
}

/** The buckets at and above each arm's percentile: some 5 % of the histogram, through its key. By index of the request. */
async function readTails(
  { run }: Snapshot,
  experiment: number,
  requests: readonly InfluenceRequest[],
  part: Part,
): Promise<Map<number, Tail>> {
  const tails = new Map<number, Tail>();
  const jobs: Job[] = [];
  for (const [index, { metric, above, rows }] of requests.entries()) {
    if (!above) continue;
    const tail: Tail = { blocks: [] };
    tails.set(index, tail);
    for (const arm of ['stable', 'canary'] as const) {
      const ids = rows.filter((row) => row.arm === arm).map((row) => row.stratum);
      const columns = {
        user: ['user_id', 'int8'],
        code: [`stratum * 2 + ${arm === 'canary' ? 1 : 0}`, 'int4'],
        bucket: ['bucket', 'int4'],
        n: ['n', 'int4'],
      } as const;
      jobs.push(async (tx) => {
        tail.blocks.push(
          await readColumns(
            tx,
            columns,
            `from user_buckets_${experiment} where experiment = ${experiment} and metric = '${metric}' and arm = '${arm}'
               and stratum = any('{${ids.join(',')}}') and bucket >= ${above[arm].bucket} ${partSql(part)}`,
          ),
        );
      });
    }
  }
  await run(jobs);
  return tails;
}

/** Σ 1e6·n above the percentile's bucket + part·n within it, by row. */
function exceedancesOf(
  request: InfluenceRequest,
  tail: Tail,
  rows: UserRows,
  numbering: Numbering,
): Float64Array {
  const { above } = request;
  if (!above) throw new Error('no percentile');
  // The rows of a slot, as a list in two arrays.
  const first = new Int32Array(numbering.size).fill(-1);
  const next = new Int32Array(rows.length);
  for (let row = 0; row < rows.length; row += 1) {
    const slot = rows.slot[row] ?? 0;
    next[row] = first[slot] ?? -1;
    first[slot] = row;
  }
  const sums = new Float64Array(rows.length);
  for (const { user, code, bucket, n } of tail.blocks) {
    for (let index = 0; index < user.length; index += 1) {
      const where = code[index] ?? 0;
      const { bucket: edge, part } = above[where % 2 === 0 ? 'stable' : 'canary'];
      const group = numbering.group(where);
      let row = first[numbering.slot(user[index] ?? 0, where % 2)] ?? -1;
      while (row >= 0 && rows.group[row] !== group) row = next[row] ?? -1;
      if (row >= 0)
        sums[row] = (sums[row] ?? 0) + (n[index] ?? 0) * (bucket[index] === edge ? part : FIXED_POINT);
    }
  }
  return sums;
}
