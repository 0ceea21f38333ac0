import type { Arm } from '../words.ts';
import { ExactSum, ExactSumOfSquares } from './exact.ts';
import { influenceRequests } from './influence.ts';
import { FIXED_POINT } from './metrics.ts';
import type {
  ArmInfluence,
  BucketTotals,
  GateFigures,
  GateMetric,
  GateTotals,
  InfluenceRequest,
  InfluenceRow,
  InfluenceSums,
  MetricTotals,
} from './types.ts';

/**
 * Both passes over data in memory: for the CSV judge, the benchmark and the tests. Postgres does the same in SQL, with equal results.
 */

/** One metric, a column each; one row per (arm, stratum, user), in any order. */
export interface UserDays {
  metric: string;
  /** 0 stable, 1 canary */
  arm: Uint8Array;
  stratum: Float64Array;
  /** Interned user, 0 ≤ user < users. */
  user: Int32Array;
  /** Samples, > 0. */
  n: Float64Array;
  /** Σ (ledger value − shift): integers below 2^53 in magnitude. */
  sum: Float64Array;
  /** Integer subtracted from each sample's ledger value, so that a large offset stays exact. */
  shift: number;
  /** Σ (ledger value)² by arm and stratum, for the reference figures; a missing row counts as unknown (0). */
  squares: { arm: Arm; stratum: number; squares: bigint }[];
}

/** Histogram rows of one metric: one per (arm, stratum, user, bucket). */
export interface UserBuckets {
  metric: string;
  arm: Uint8Array;
  stratum: Float64Array;
  user: Int32Array;
  bucket: Int16Array;
  n: Float64Array;
}

export interface GateData {
  /** Number of interned users. */
  users: number;
  days: UserDays[];
  buckets: UserBuckets[];
  totals: Omit<GateTotals, 'metrics' | 'buckets'>;
}

const arms: readonly Arm[] = ['stable', 'canary'];

/** Both passes. */
export function figuresOf(metrics: readonly GateMetric[], data: GateData): GateFigures {
  const totals = totalsOf(data);
  return { totals, sums: influenceRequests(metrics, totals).map((request) => influenceSums(request, data)) };
}

/** Pass 1. */
export function totalsOf(data: GateData): GateTotals {
  return {
    ...data.totals,
    metrics: data.days.flatMap(metricTotals),
    buckets: data.buckets.flatMap(bucketTotals),
  };
}

/** Numbers the (arm, stratum) groups of the rows: the groups, and each row's group. */
function groupRows(rows: { arm: Uint8Array; stratum: Float64Array }): {
  groups: { arm: Arm; stratum: number }[];
  groupOf: Int32Array;
} {
  const groups: { arm: Arm; stratum: number }[] = [];
  const numbers: [Map<number, number>, Map<number, number>] = [new Map(), new Map()];
  const groupOf = new Int32Array(rows.arm.length);
  for (let row = 0; row < groupOf.length; row += 1) {
    const arm = rows.arm[row] === 1 ? 1 : 0;
    const stratum = rows.stratum[row] ?? 0;
    let group = numbers[arm].get(stratum);
    if (group === undefined) {
      group = groups.length;
      numbers[arm].set(stratum, group);
      groups.push({ arm: arms[arm] ?? 'stable', stratum });
    }
    groupOf[row] = group;
  }
  return { groups, groupOf };
}

function metricTotals(days: UserDays): MetricTotals[] {
  const { groups, groupOf } = groupRows(days);
  const users = new Int32Array(groups.length);
  const n = new Float64Array(groups.length);
  const sums = groups.map(() => new ExactSum());
  for (let row = 0; row < groupOf.length; row += 1) {
    const group = groupOf[row] ?? 0;
    users[group] = (users[group] ?? 0) + 1;
    n[group] = (n[group] ?? 0) + (days.n[row] ?? 0);
    sums[group]?.add(days.sum[row] ?? 0);
  }
  return groups.map(({ arm, stratum }, group) => ({
    metric: days.metric,
    arm,
    stratum,
    users: users[group] ?? 0,
    n: n[group] ?? 0,
    sum: (sums[group]?.total() ?? 0n) + BigInt(days.shift) * BigInt(n[group] ?? 0),
    squares: days.squares.find((row) => row.arm === arm && row.stratum === stratum)?.squares ?? 0n,
  }));
}

function bucketTotals(buckets: UserBuckets): BucketTotals[] {
  const { groups, groupOf } = groupRows(buckets);
  const counts = groups.map(() => new Map<number, number>());
  for (let row = 0; row < groupOf.length; row += 1) {
    const count = counts[groupOf[row] ?? 0];
    const bucket = buckets.bucket[row] ?? 0;
    count?.set(bucket, (count.get(bucket) ?? 0) + (buckets.n[row] ?? 0));
  }
  return groups.flatMap(({ arm, stratum }, group) =>
    [...(counts[group] ?? [])].map(([bucket, n]) => ({ metric: buckets.metric, arm, stratum, bucket, n })),
  );
}

/** Pass 2, as `InfluenceRequest` describes it. */
export function influenceSums(request: InfluenceRequest, data: GateData): InfluenceSums {
  const days = data.days.find((candidate) => candidate.metric === request.metric);
  const tally = new Tally(data.users);
  if (days) {
    const sums = request.above ? tailSums(request.above, days, data) : days.sum;
    const centre = request.above ? 0 : Number(request.centre - BigInt(days.shift));
    const { groups, groupOf } = groupRows(days);
    const rows = groups.map((group) =>
      request.rows.find((row) => row.arm === group.arm && row.stratum === group.stratum),
    );
    const eventThreshold = request.above ? Number.POSITIVE_INFINITY : 0;
    for (let row = 0; row < groupOf.length; row += 1) {
      const coefficients = rows[groupOf[row] ?? 0];
      if (!coefficients) continue;
      const slot = 2 * (days.user[row] ?? 0) + (coefficients.arm === 'canary' ? 1 : 0);
      const n = days.n[row] ?? 0;
      const sum = sums[row] ?? 0;
      tally.add(
        slot,
        n,
        sum + (request.above ? 0 : days.shift * n) > eventThreshold,
        sum - centre * n,
        coefficients,
      );
    }
  }
  return { guard: request.guard, arms: { stable: tally.squares(0), canary: tally.squares(1) } };
}

/** Exceedances of each row's user-day above the arm's percentile, in ledger units. */
function tailSums(
  above: NonNullable<InfluenceRequest['above']>,
  days: UserDays,
  data: GateData,
): Float64Array {
  const sums = new Float64Array(days.n.length);
  const buckets = data.buckets.find((candidate) => candidate.metric === days.metric);
  if (!buckets) return sums;
  // Rows by group and user: the histogram's rows come in any order.
  const rowsOf = new Map<number, Int32Array>();
  const group = (arm: number, stratum: number) => 2 * stratum + arm;
  for (let row = 0; row < days.n.length; row += 1) {
    const key = group(days.arm[row] ?? 0, days.stratum[row] ?? 0);
    const rows = rowsOf.get(key) ?? new Int32Array(data.users).fill(-1);
    rowsOf.set(key, rows);
    rows[days.user[row] ?? 0] = row;
  }
  for (let row = 0; row < buckets.n.length; row += 1) {
    const arm = buckets.arm[row] ?? 0;
    const { bucket, part } = above[arms[arm] ?? 'stable'];
    const own = buckets.bucket[row] ?? 0;
    if (own < bucket) continue;
    const target = rowsOf.get(group(arm, buckets.stratum[row] ?? 0))?.[buckets.user[row] ?? 0] ?? -1;
    if (target < 0) continue;
    sums[target] = (sums[target] ?? 0) + (buckets.n[row] ?? 0) * (own === bucket ? part : FIXED_POINT);
  }
  return sums;
}

/** Influences of each (arm, user), added over strata; slot = 2·user + arm. */
class Tally {
  readonly n: Float64Array;
  readonly events: Uint8Array;
  readonly own: Float64Array;
  readonly asStable: Float64Array;
  readonly asCanary: Float64Array;

  constructor(users: number) {
    this.n = new Float64Array(2 * users);
    this.events = new Uint8Array(2 * users);
    this.own = new Float64Array(2 * users);
    this.asStable = new Float64Array(2 * users);
    this.asCanary = new Float64Array(2 * users);
  }

  add(slot: number, n: number, event: boolean, centred: number, row: InfluenceRow): void {
    const residual = centred - row.mean * n;
    const pooled = centred - row.pooledMean * n;
    this.n[slot] = (this.n[slot] ?? 0) + n;
    if (event) this.events[slot] = 1;
    this.own[slot] = (this.own[slot] ?? 0) + Math.floor(row.own * residual + 0.5);
    this.asStable[slot] = (this.asStable[slot] ?? 0) + Math.floor(row.asStable * pooled + 0.5);
    this.asCanary[slot] = (this.asCanary[slot] ?? 0) + Math.floor(row.asCanary * pooled + 0.5);
  }

  squares(arm: 0 | 1): ArmInfluence {
    let users = 0;
    let positive = 0;
    const n2 = new ExactSum();
    const [own2, asStable2, asCanary2] = [
      new ExactSumOfSquares(),
      new ExactSumOfSquares(),
      new ExactSumOfSquares(),
    ];
    for (let slot: number = arm; slot < this.n.length; slot += 2) {
      const n = this.n[slot] ?? 0;
      if (n === 0) continue;
      users += 1;
      positive += this.events[slot] ?? 0;
      n2.add(n * n);
      own2.add(this.own[slot] ?? 0);
      asStable2.add(this.asStable[slot] ?? 0);
      asCanary2.add(this.asCanary[slot] ?? 0);
    }
    return {
      users,
      positive,
      n2: n2.total(),
      own2: own2.total(),
      asStable2: asStable2.total(),
      asCanary2: asCanary2.total(),
    };
  }
}
