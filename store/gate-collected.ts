import { bucketOf } from '../domain/gate/histogram.ts';
import {
  type GateData,
  totalsOf as totalsOfUsers,
  type UserBuckets,
  type UserDays,
} from '../domain/gate/in-memory.ts';
import { ledgerValue } from '../domain/gate/metrics.ts';
import type { GateMetric, UnusableReason, UnusableSamples } from '../domain/gate/types.ts';
import type { Arm } from '../domain/words.ts';
import {
  type ExperimentRows,
  type GateWindow,
  isInside,
  percentileMetrics,
  totalsOf,
} from './gate-totals.ts';

/** Where a sample counts. */
export interface Place {
  user: number;
  arm: Arm;
  stratum: number;
}

interface Cell extends Place {
  n: number;
  sum: bigint;
  /** null: no value yet, or not a percentile's metric. */
  buckets: Map<number, number> | null;
}

/** One user of the experiment: where the first request was, and the first failed one. */
interface UserHistory {
  everOnStable: boolean;
  first: number;
  error: { arm: Arm; stratum: number } | null;
}

/** Raw samples of some users, added up as the gate judges them. */
export class Collected {
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

  addValues(place: Place, values: readonly (readonly [metric: string, raw: number])[]): void {
    const { user, arm, stratum } = place;
    const where = cellKey(place);
    const group = `${arm} ${stratum}`;
    for (const [metric, raw] of values) {
      const stored = ledgerValue(metric, raw);
      if ('unusable' in stored) {
        const reason: UnusableReason = stored.unusable;
        const key = `${metric} ${arm} ${reason}`;
        entry(this.#unusable, key, () => ({ metric, arm, reason, n: 0 })).n += 1;
        continue;
      }
      const value = BigInt(stored.value);
      const cells = entry(this.#cells, metric, () => new Map());
      const cell = entry(cells, where, () => ({ user, arm, stratum, n: 0, sum: 0n, buckets: null }));
      cell.n += 1;
      cell.sum += value;
      const squares = entry(this.#squares, metric, () => new Map());
      entry(squares, group, () => ({ arm, stratum, squares: 0n })).squares += value * value;
      if (!this.#percentiles.has(metric)) continue;
      const bucket = bucketOf(raw);
      cell.buckets ??= new Map();
      cell.buckets.set(bucket, (cell.buckets.get(bucket) ?? 0) + 1);
    }
  }

  /** As the gate judges them. */
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
    const { metrics: _metrics, buckets: _buckets, ...totals } = totalsOf(window, this.#traffic());
    return { users: numbers.size, days, buckets, totals };
  }

  /** Added up over the users. */
  rows(window: GateWindow): ExperimentRows {
    const { metrics, buckets } = totalsOfUsers(this.data(window));
    return { ...this.#traffic(), metrics, buckets };
  }

  #traffic(): ExperimentRows {
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

/** Rows of different users, added up. */
export class MergedRows {
  readonly #merged: { [Kind in keyof ExperimentRows]: Map<string, ExperimentRows[Kind][number]> } = {
    users: new Map(),
    firsts: new Map(),
    metrics: new Map(),
    buckets: new Map(),
    unusable: new Map(),
  };

  add(rows: ExperimentRows): void {
    const { users, firsts, metrics, buckets, unusable } = this.#merged;
    for (const row of rows.users) {
      const sum = entry(users, `${row.arm} ${row.stratum}`, () => ({ ...row, users: 0, requests: 0 }));
      sum.users += row.users;
      sum.requests += row.requests;
    }
    for (const row of rows.firsts) {
      entry(firsts, `${row.kind} ${row.arm} ${row.stratum}`, () => ({ ...row, users: 0 })).users += row.users;
    }
    for (const row of rows.metrics) {
      const key = `${row.metric} ${row.arm} ${row.stratum}`;
      const sum = entry(metrics, key, () => ({ ...row, users: 0, n: 0, sum: 0n, squares: 0n }));
      sum.users += row.users;
      sum.n += row.n;
      sum.sum += row.sum;
      sum.squares += row.squares;
    }
    for (const row of rows.buckets) {
      const key = `${row.metric} ${row.arm} ${row.stratum} ${row.bucket}`;
      entry(buckets, key, () => ({ ...row, n: 0 })).n += row.n;
    }
    for (const row of rows.unusable) {
      entry(unusable, `${row.metric} ${row.arm} ${row.reason}`, () => ({ ...row, n: 0 })).n += row.n;
    }
  }

  merged(): ExperimentRows {
    const { users, firsts, metrics, buckets, unusable } = this.#merged;
    return {
      users: [...users.values()],
      firsts: [...firsts.values()],
      metrics: [...metrics.values()],
      buckets: [...buckets.values()],
      unusable: [...unusable.values()],
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
  const bars = cells.flatMap((cell) => [...(cell.buckets ?? [])].map(([bucket, n]) => ({ cell, bucket, n })));
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
