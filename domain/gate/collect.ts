import type { Arm } from '../words.ts';
import { NumberColumn } from './columns.ts';
import { ExactSum, ExactSumOfSquares, LIMB } from './exact.ts';
import { bucketOf } from './histogram.ts';
import type { GateData, UserBuckets, UserDays } from './in-memory.ts';
import { ledgerValue } from './metrics.ts';
import { stratumId } from './strata.ts';
import type { GateMetric, TrafficTotals, UnusableReason } from './types.ts';

/** One request. A metric that was not measured is left out of `values`; NaN means that measuring it failed. */
export interface GateSample {
  /** ms since 1970 */
  at: number;
  user: string;
  arm: Arm;
  /** Raw values: seconds, dollars, scores; 0 or 1 for rates. */
  values: Readonly<Record<string, number>>;
}

export interface CollectorOptions {
  /** Start of the canary, ms since 1970. */
  from: number;
  /** Length of a stratum, ms. */
  stratum: number;
  /** When each phase of the weight began, and the weight; the first begins at `from` at the latest. */
  phases: readonly { since: number; weight: number }[];
  metrics: readonly GateMetric[];
}

/**
 * Adds samples up to what the gate judges, as the ledger does on ingestion. Any order and any batches give the same data. Metrics that the
 * policy does not name are collected too, so that a renamed one can be named.
 */
export class SampleCollector {
  private readonly options: CollectorOptions;
  private readonly users = new Map<string, number>();
  private readonly first: (Seen | undefined)[] = [];
  private readonly firstError: (Seen | undefined)[] = [];
  private readonly traffic = new Map<number, Set<number>>();
  private readonly requests = new Map<number, number>();
  private readonly metrics = new Map<string, Cells>();
  private readonly unusable = new Map<
    string,
    { metric: string; arm: Arm; reason: UnusableReason; n: number }
  >();
  private readonly percentiles: Set<string>;
  private outside = { stable: 0, canary: 0 };

  constructor(options: CollectorOptions) {
    this.options = options;
    this.percentiles = new Set(options.metrics.filter((m) => m.scale === 'p95').map((m) => m.metric));
  }

  add(sample: GateSample): void {
    const { from, stratum: length, phases } = this.options;
    const user = this.intern(sample.user);
    const errored = sample.values.error === 1;
    if (!(sample.at >= from)) {
      this.outside[sample.arm] += 1;
      // As in the ledger: whose first request is dated before the start is not counted as a user who came.
      const early = { arm: sample.arm, stratum: BEFORE };
      this.first[user] = earlier(this.first[user], early);
      if (errored) this.firstError[user] = earlier(this.firstError[user], early);
      return;
    }
    const phase = Math.max(
      0,
      phases.findLastIndex(({ since }) => since <= sample.at),
    );
    const stratum = stratumId({ at: sample.at, from, length, phase });
    const seen = { arm: sample.arm, stratum };
    this.first[user] = earlier(this.first[user], seen);
    if (errored) this.firstError[user] = earlier(this.firstError[user], seen);
    const where = groupKey(sample.arm, stratum);
    const present = this.traffic.get(where) ?? new Set();
    this.traffic.set(where, present.add(user));
    this.requests.set(where, (this.requests.get(where) ?? 0) + 1);
    for (const [metric, raw] of Object.entries(sample.values)) {
      const value = ledgerValue(metric, raw);
      if ('unusable' in value) this.refuse(metric, sample.arm, value.unusable);
      else
        this.cells(metric).add(
          sample.arm,
          stratum,
          user,
          value.value,
          this.percentiles.has(metric) ? bucketOf(raw) : null,
        );
    }
  }

  /** The data up to the watermark `to` (ms since 1970), to be read before the next sample is added. */
  finish(to: number): GateData {
    const { from, stratum, phases } = this.options;
    const unusable = [...this.unusable.values()];
    for (const arm of ['stable', 'canary'] as const) {
      if (this.outside[arm] > 0)
        unusable.push({ metric: '*', arm, reason: 'outside-window', n: this.outside[arm] });
    }
    const collected = [...this.metrics.values()];
    return {
      users: this.users.size,
      days: collected.map((cells) => cells.days()),
      buckets: collected
        .filter((cells) => this.percentiles.has(cells.metric))
        .map((cells) => cells.buckets()),
      totals: {
        from,
        to,
        stratum,
        phases: phases.map(({ weight }) => ({ weight })),
        traffic: this.trafficTotals(),
        unusable,
      },
    };
  }

  private intern(user: string): number {
    const known = this.users.get(user);
    if (known !== undefined) return known;
    this.users.set(user, this.users.size);
    return this.users.size - 1;
  }

  private refuse(metric: string, arm: Arm, reason: UnusableReason): void {
    const key = `${reason} ${arm} ${metric}`;
    const entry = this.unusable.get(key) ?? { metric, arm, reason, n: 0 };
    entry.n += 1;
    this.unusable.set(key, entry);
  }

  private cells(metric: string): Cells {
    const cells = this.metrics.get(metric) ?? new Cells(metric);
    this.metrics.set(metric, cells);
    return cells;
  }

  private trafficTotals(): TrafficTotals[] {
    const rows = new Map<number, TrafficTotals>();
    for (const [where, users] of this.traffic) {
      const { arm, stratum } = groupOf(where);
      const requests = this.requests.get(where) ?? 0;
      rows.set(where, { arm, stratum, users: users.size, newUsers: 0, requests, firstErrors: 0 });
    }
    const count = (all: (Seen | undefined)[], column: 'newUsers' | 'firstErrors') => {
      for (const seen of all) {
        const row = seen && rows.get(groupKey(seen.arm, seen.stratum));
        if (row) row[column] += 1;
      }
    };
    count(this.first, 'newUsers');
    count(this.firstError, 'firstErrors');
    return [...rows.values()];
  }
}

/** Stands for any stratum before the first. */
const BEFORE = -1;

interface Seen {
  arm: Arm;
  stratum: number;
}

/** The one of the earlier stratum; in one stratum that of the stable arm, as in the ledger, which keeps no times of users. */
function earlier(known: Seen | undefined, seen: Seen): Seen {
  if (!known || seen.stratum < known.stratum) return seen;
  return seen.stratum === known.stratum && seen.arm === 'stable' ? seen : known;
}

function groupKey(arm: Arm, stratum: number): number {
  return 2 * stratum + (arm === 'canary' ? 1 : 0);
}

function groupOf(key: number): { arm: Arm; stratum: number } {
  return { arm: key % 2 === 1 ? 'canary' : 'stable', stratum: Math.floor(key / 2) };
}

/** Sums of one metric by (arm, stratum, user), exact, and its histogram: columns, since there are millions of rows. */
class Cells {
  readonly metric: string;
  private readonly groups = new Map<number, { rows: Map<number, number>; squares: ExactSumOfSquares }>();
  private readonly arm = NumberColumn.bytes();
  private readonly stratum = NumberColumn.doubles();
  private readonly user = NumberColumn.integers();
  private readonly n = NumberColumn.doubles();
  /** Sums are high · LIMB + low, as in ExactSum. */
  private readonly high = NumberColumn.doubles();
  private readonly low = NumberColumn.doubles();
  private readonly total = new ExactSum();
  private samples = 0;
  private readonly bars = new Map<number, number>();
  private readonly barArm = NumberColumn.bytes();
  private readonly barStratum = NumberColumn.doubles();
  private readonly barUser = NumberColumn.integers();
  private readonly barBucket = NumberColumn.shorts();
  private readonly barN = NumberColumn.doubles();

  constructor(metric: string) {
    this.metric = metric;
  }

  add(arm: Arm, stratum: number, user: number, value: number, bucket: number | null): void {
    const key = groupKey(arm, stratum);
    let group = this.groups.get(key);
    if (group === undefined) {
      group = { rows: new Map(), squares: new ExactSumOfSquares() };
      this.groups.set(key, group);
    }
    let row = group.rows.get(user);
    if (row === undefined) {
      row = this.n.length;
      group.rows.set(user, row);
      this.arm.push(arm === 'canary' ? 1 : 0);
      this.stratum.push(stratum);
      this.user.push(user);
      this.n.push(0);
      this.high.push(0);
      this.low.push(0);
    }
    const high = Math.floor(value / LIMB);
    this.n.set(row, this.n.at(row) + 1);
    this.high.set(row, this.high.at(row) + high);
    this.low.set(row, this.low.at(row) + value - high * LIMB);
    this.total.add(value);
    this.samples += 1;
    group.squares.add(value);
    if (bucket === null) return;
    const place = row * BUCKETS + bucket + BUCKETS / 2;
    let bar = this.bars.get(place);
    if (bar === undefined) {
      bar = this.barN.length;
      this.bars.set(place, bar);
      this.barArm.push(arm === 'canary' ? 1 : 0);
      this.barStratum.push(stratum);
      this.barUser.push(user);
      this.barBucket.push(bucket);
      this.barN.push(0);
    }
    this.barN.set(bar, this.barN.at(bar) + 1);
  }

  days(): UserDays {
    const shift = Number(this.total.total() / BigInt(Math.max(1, this.samples)));
    const shiftHigh = Math.floor(shift / LIMB);
    const shiftLow = shift - shiftHigh * LIMB;
    const [n, high, low] = [this.n.view(), this.high.view(), this.low.view()];
    // Limb by limb, so that no step leaves the integers that a double holds.
    const sum = new Float64Array(n.length);
    for (let row = 0; row < sum.length; row += 1) {
      const count = n[row] ?? 0;
      const rest = (low[row] ?? 0) - shiftLow * count;
      sum[row] = ((high[row] ?? 0) - shiftHigh * count) * LIMB + rest;
    }
    return {
      metric: this.metric,
      arm: this.arm.view(),
      stratum: this.stratum.view(),
      user: this.user.view(),
      n,
      sum,
      shift,
      squares: [...this.groups].map(([key, { squares }]) => ({ ...groupOf(key), squares: squares.total() })),
    };
  }

  buckets(): UserBuckets {
    return {
      metric: this.metric,
      arm: this.barArm.view(),
      stratum: this.barStratum.view(),
      user: this.barUser.view(),
      bucket: this.barBucket.view(),
      n: this.barN.view(),
    };
  }
}

/** More than there are buckets on both sides of 0, so that row and bucket make one key. */
const BUCKETS = 4096;
