import { bucketOf } from '../domain/gate/histogram.ts';
import { figuresOf, type GateData, type UserBuckets, type UserDays } from '../domain/gate/in-memory.ts';
import { ledgerValue } from '../domain/gate/metrics.ts';
import type { GateFigures, GateMetric, UnusableReason, UnusableSamples } from '../domain/gate/types.ts';
import type { Arm } from '../domain/words.ts';
import { type Database, inTransaction, type Transaction } from './database.ts';
import {
  type ExperimentRows,
  type GateWindow,
  isInside,
  percentileMetrics,
  totalsOf,
} from './gate-totals.ts';
import { type JudgedColumns, metricsOf } from './ledger/records.ts';
import { experimentOf } from './ledger.ts';

/** Rows that are fetched at once. */
const CHUNK = 10_000;

type SampleRow = JudgedColumns & Place;

/**
 * The figures once more, from the raw samples and scores up to a watermark, by the other implementation (domain/gate/in-memory.ts): what an
 * auditor compares a verdict with. Reads every sample; a judgement does not.
 */
export async function figuresFromSamples(
  db: Database,
  window: GateWindow,
  metrics: readonly GateMetric[],
  watermark: number,
): Promise<GateFigures> {
  const collected = new Collected(metrics);
  const experiment = await experimentOf(db, window.release);
  await inTransaction(db, async (tx) => {
    await tx.query('set transaction isolation level repeatable read, read only');
    await eachRow<SampleRow>(
      tx,
      `select user_id as user, arm, stratum, failed, interrupted, violations, latency, ttft, tpot, cost from samples
        where experiment = $1 and batch <= $2 and arm is not null order by user_id`,
      [experiment, watermark],
      (row) => {
        collected.addRequest(row);
        for (const [metric, value] of metricsOf(row)) collected.addValue(row, metric, value);
      },
    );
    await eachRow<{ user: number; arm: Arm; stratum: number; evaluator: string; score: number }>(
      tx,
      `select s.user_id as user, s.arm, s.stratum, c.evaluator, c.score from scores c join samples s on s.id = c.request_id
        where s.experiment = $1 and c.batch <= $2 and s.arm is not null`,
      [experiment, watermark],
      (row) => collected.addValue(row, `quality:${row.evaluator}`, row.score),
    );
  });
  return figuresOf(metrics, collected.data(window));
}

async function eachRow<R extends object>(
  tx: Transaction,
  sql: string,
  values: unknown[],
  use: (row: R) => void,
): Promise<void> {
  await tx.query(`declare raw no scroll cursor for ${sql}`, values);
  for (;;) {
    const { rows } = await tx.query<R>(`fetch ${CHUNK} from raw`);
    for (const row of rows) use(row);
    if (rows.length < CHUNK) break;
  }
  await tx.query('close raw');
}

interface Place {
  user: number;
  arm: Arm;
  stratum: number;
}

interface Cell extends Place {
  n: number;
  sum: bigint;
  buckets: Map<number, number>;
}

/** One user of the experiment: where the first request was, and the first failed one. */
interface UserHistory {
  everOnStable: boolean;
  first: number;
  error: { arm: Arm; stratum: number } | null;
}

class Collected {
  readonly #percentiles: Set<string>;
  readonly #cells = new Map<string, Map<string, Cell>>();
  readonly #squares = new Map<string, Map<string, { arm: Arm; stratum: number; squares: bigint }>>();
  readonly #users = new Map<number, UserHistory>();
  readonly #requests = new Map<string, Place & { n: number }>();
  readonly #unusable = new Map<string, UnusableSamples>();

  constructor(metrics: readonly GateMetric[]) {
    this.#percentiles = new Set(percentileMetrics(metrics));
  }

  addRequest(row: Place & { failed: boolean }): void {
    const { user, arm, stratum, failed } = row;
    entry(this.#requests, cellKey(row), () => ({ user, arm, stratum, n: 0 })).n += 1;
    const history = entry(this.#users, user, () => ({ everOnStable: false, first: stratum, error: null }));
    history.everOnStable ||= arm === 'stable';
    history.first = Math.min(history.first, stratum);
    if (!failed) return;
    if (history.error === null || stratum < history.error.stratum) history.error = { arm, stratum };
    else if (stratum === history.error.stratum && arm === 'stable') history.error.arm = arm;
  }

  addValue(place: Place, metric: string, raw: number): void {
    const { user, arm, stratum } = place;
    const stored = ledgerValue(metric, raw);
    if ('unusable' in stored) {
      const reason: UnusableReason = stored.unusable;
      const row = entry(this.#unusable, `${metric} ${arm} ${reason}`, () => ({ metric, arm, reason, n: 0 }));
      row.n += 1;
      return;
    }
    const value = BigInt(stored.value);
    const cells = entry(this.#cells, metric, () => new Map());
    const cell = entry(cells, cellKey(place), () => ({
      user,
      arm,
      stratum,
      n: 0,
      sum: 0n,
      buckets: new Map(),
    }));
    cell.n += 1;
    cell.sum += value;
    const squares = entry(this.#squares, metric, () => new Map());
    entry(squares, `${arm} ${stratum}`, () => ({ arm, stratum, squares: 0n })).squares += value * value;
    if (!this.#percentiles.has(metric)) return;
    const bucket = bucketOf(raw);
    cell.buckets.set(bucket, (cell.buckets.get(bucket) ?? 0) + 1);
  }

  data(window: GateWindow): GateData {
    const numbers = new Map([...this.#users.keys()].map((user, index) => [user, index]));
    const days: UserDays[] = [];
    const buckets: UserBuckets[] = [];
    for (const [metric, all] of this.#cells) {
      const cells = [...all.values()].filter((cell) => isInside(window, cell.stratum));
      if (cells.length === 0) continue;
      days.push(daysOf(metric, cells, numbers, [...(this.#squares.get(metric)?.values() ?? [])]));
      if (this.#percentiles.has(metric)) buckets.push(bucketsOf(metric, cells, numbers));
    }
    const { metrics: _metrics, buckets: _buckets, ...totals } = totalsOf(window, this.#rows());
    return { users: numbers.size, days, buckets, totals };
  }

  #rows(): ExperimentRows {
    const users = new Map<string, ExperimentRows['users'][number]>();
    for (const { arm, stratum, n } of this.#requests.values()) {
      const row = entry(users, `${arm} ${stratum}`, () => ({ arm, stratum, users: 0, requests: 0 }));
      row.users += 1;
      row.requests += n;
    }
    const firsts: ExperimentRows['firsts'] = [];
    for (const { everOnStable, first, error } of this.#users.values()) {
      firsts.push({ kind: 'request', arm: everOnStable ? 'stable' : 'canary', stratum: first, users: 1 });
      if (error) firsts.push({ kind: 'error', ...error, users: 1 });
    }
    return {
      users: [...users.values()],
      firsts,
      metrics: [],
      buckets: [],
      unusable: [...this.#unusable.values()],
    };
  }
}

function daysOf(
  metric: string,
  cells: readonly Cell[],
  numbers: ReadonlyMap<number, number>,
  squares: UserDays['squares'],
): UserDays {
  const n = cells.reduce((sum, cell) => sum + cell.n, 0);
  const shift = cells.reduce((sum, cell) => sum + cell.sum, 0n) / BigInt(n);
  return {
    metric,
    arm: Uint8Array.from(cells, ({ arm }) => (arm === 'canary' ? 1 : 0)),
    stratum: Float64Array.from(cells, ({ stratum }) => stratum),
    user: Int32Array.from(cells, ({ user }) => numbers.get(user) ?? -1),
    n: Float64Array.from(cells, (cell) => cell.n),
    sum: Float64Array.from(cells, (cell) => Number(cell.sum - shift * BigInt(cell.n))),
    shift: Number(shift),
    squares,
  };
}

function bucketsOf(
  metric: string,
  cells: readonly Cell[],
  numbers: ReadonlyMap<number, number>,
): UserBuckets {
  const bars = cells.flatMap((cell) => [...cell.buckets].map(([bucket, n]) => ({ cell, bucket, n })));
  return {
    metric,
    arm: Uint8Array.from(bars, ({ cell }) => (cell.arm === 'canary' ? 1 : 0)),
    stratum: Float64Array.from(bars, ({ cell }) => cell.stratum),
    user: Int32Array.from(bars, ({ cell }) => numbers.get(cell.user) ?? -1),
    bucket: Int16Array.from(bars, ({ bucket }) => bucket),
    n: Float64Array.from(bars, ({ n }) => n),
  };
}

function cellKey({ user, arm, stratum }: Place): string {
  return `${user} ${arm} ${stratum}`;
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}
