import { bucketOf } from '../../domain/gate/histogram.ts';
import { type GateData, influenceSums } from '../../domain/gate/in-memory.ts';
import { influenceRequests } from '../../domain/gate/influence.ts';
import { ledgerValue } from '../../domain/gate/metrics.ts';
import type {
  ArmInfluence,
  GateFigures,
  GateMetric,
  GateTotals,
  InfluenceRequest,
  MetricTotals,
  TrafficTotals,
} from '../../domain/gate/types.ts';
import { Tail } from './tail.ts';

/**
 * The figures of a running canary, kept up with every request, so that thousands of canaries can be looked at every hour. Everything but
 * pass 2 is the gate's own code; pass 2 is taken from second moments between strata (in floating point, so to some 10 digits), except
 * for percentiles, which need each user's histogram and go through the gate's own code.
 */
const PHASES = 64;

export class RunningCanary {
  private readonly metrics: readonly GateMetric[];
  private readonly people: readonly { canary: boolean }[];
  private readonly columns = new Map<string, Column>();
  private readonly traffic: TrafficTotals[][];
  private readonly seenIn: Int32Array;
  private readonly erred: Uint8Array;
  private readonly weight: number;

  constructor(
    metrics: readonly GateMetric[],
    names: string[],
    strata: number,
    people: readonly { canary: boolean }[],
    weight: number,
  ) {
    this.metrics = metrics;
    this.people = people;
    this.weight = weight;
    this.seenIn = new Int32Array(people.length).fill(-1);
    this.erred = new Uint8Array(people.length);
    for (const name of names) {
      const tail = metrics.some((m) => m.metric === name && m.scale === 'p95');
      this.columns.set(name, new Column(name, strata, people, tail));
    }
    this.traffic = (['stable', 'canary'] as const).map((arm) =>
      Array.from({ length: strata }, (_, day) => ({
        arm,
        stratum: day * PHASES,
        users: 0,
        newUsers: 0,
        requests: 0,
        firstErrors: 0,
      })),
    );
  }

  /** One request; `values` are raw, by metric. */
  add(user: number, day: number, values: Readonly<Record<string, number>>): void {
    const canary = this.people[user]?.canary ? 1 : 0;
    const row = this.traffic[canary]?.[day];
    if (!row) return;
    row.requests += 1;
    if (this.seenIn[user] !== day) {
      row.users += 1;
      if (this.seenIn[user] === -1) row.newUsers += 1;
      this.seenIn[user] = day;
    }
    if (values.error === 1 && this.erred[user] === 0) {
      this.erred[user] = 1;
      row.firstErrors += 1;
    }
    for (const [name, raw] of Object.entries(values)) {
      const value = ledgerValue(name, raw);
      if ('value' in value) this.columns.get(name)?.add(user, canary, day, value.value, raw);
    }
  }

  /** `requestsFor` says what pass 2 asks; a comparison of the arms unless told. */
  figures(to: number, requestsFor = influenceRequests): GateFigures {
    const totals: GateTotals = {
      from: 0,
      to,
      stratum: 86_400_000,
      phases: [{ weight: this.weight }],
      traffic: this.traffic.flat().filter((row) => row.requests > 0),
      metrics: [...this.columns.values()].flatMap((column) => column.totals()),
      buckets: [...this.columns.values()].flatMap((column) => column.bucketTotals()),
      unusable: [],
    };
    const sums = requestsFor(this.metrics, totals).map((request) => {
      const column = this.columns.get(request.metric);
      if (!column) throw new Error(`no column ${request.metric}`);
      if (request.above) return influenceSums(request, column.asData(totals));
      return {
        guard: request.guard,
        arms: { stable: column.squares(request, 0), canary: column.squares(request, 1) },
      };
    });
    return { totals, sums };
  }

  /** Per-request moments of a metric, for the textbook rule: [n, Σ, Σ²] of an arm, about a fixed origin. */
  requestMoments(metric: string, canary: 0 | 1): [number, number, number] {
    return this.columns.get(metric)?.requests[canary] ?? [0, 0, 0];
  }
}

class Column {
  readonly requests: [[number, number, number], [number, number, number]] = [
    [0, 0, 0],
    [0, 0, 0],
  ];
  private readonly name: string;
  private readonly strata: number;
  private readonly crowd: readonly { canary: boolean }[];
  /** Fixed near the first value, so that second moments keep their digits. */
  private origin: number | null = null;
  private readonly s: Float64Array;
  private readonly n: Float64Array;
  private readonly users: [Float64Array, Float64Array];
  private readonly samples: [Float64Array, Float64Array];
  private readonly sums: [Float64Array, Float64Array];
  private readonly ss: [Float64Array, Float64Array];
  private readonly sn: [Float64Array, Float64Array];
  private readonly nn: [Float64Array, Float64Array];
  private readonly everyone = [0, 0];
  private readonly positive = [0, 0];
  private readonly hasEvent: Uint8Array;
  private readonly known: Uint8Array;
  private readonly tail: Tail | null;
  private readonly bars = new Map<number, GateTotals['buckets'][number]>();

  constructor(name: string, strata: number, crowd: readonly { canary: boolean }[], tail: boolean) {
    const people = crowd.length;
    this.crowd = crowd;
    this.name = name;
    this.strata = strata;
    const pair = (size: number): [Float64Array, Float64Array] => [
      new Float64Array(size),
      new Float64Array(size),
    ];
    this.s = new Float64Array(people * strata);
    this.n = new Float64Array(people * strata);
    this.users = pair(strata);
    this.samples = pair(strata);
    this.sums = pair(strata);
    this.ss = pair(strata * strata);
    this.sn = pair(strata * strata);
    this.nn = pair(strata * strata);
    this.hasEvent = new Uint8Array(people);
    this.known = new Uint8Array(people);
    this.tail = tail ? new Tail(people * strata) : null;
  }

  add(user: number, arm: 0 | 1, day: number, value: number, raw: number): void {
    this.origin ??= Math.round(value / 1e5) * 1e5;
    const v = value - this.origin;
    const { strata, s, n } = this;
    const base = user * strata;
    const [ss, sn, nn] = [this.ss[arm], this.sn[arm], this.nn[arm]];
    const own = base + day;
    const [sOwn, nOwn] = [s[own] ?? 0, n[own] ?? 0];
    for (let other = 0; other < strata; other += 1) {
      const nOther = n[base + other] ?? 0;
      if (nOther === 0 || other === day) continue;
      const sOther = s[base + other] ?? 0;
      // Both triangles: index row·strata + column, sn = S_row · N_column.
      const [here, there] = [day * strata + other, other * strata + day];
      ss[here] = (ss[here] ?? 0) + sOther * v;
      ss[there] = (ss[there] ?? 0) + sOther * v;
      sn[here] = (sn[here] ?? 0) + v * nOther;
      sn[there] = (sn[there] ?? 0) + sOther;
      nn[here] = (nn[here] ?? 0) + nOther;
      nn[there] = (nn[there] ?? 0) + nOther;
    }
    const diagonal = day * strata + day;
    ss[diagonal] = (ss[diagonal] ?? 0) + v * (2 * sOwn + v);
    sn[diagonal] = (sn[diagonal] ?? 0) + sOwn + v * (nOwn + 1);
    nn[diagonal] = (nn[diagonal] ?? 0) + 2 * nOwn + 1;
    s[own] = sOwn + v;
    n[own] = nOwn + 1;
    if (nOwn === 0) this.users[arm][day] = (this.users[arm][day] ?? 0) + 1;
    this.samples[arm][day] = (this.samples[arm][day] ?? 0) + 1;
    this.sums[arm][day] = (this.sums[arm][day] ?? 0) + value;
    if (this.known[user] === 0) {
      this.known[user] = 1;
      this.everyone[arm] = (this.everyone[arm] ?? 0) + 1;
    }
    if (value > 0 && this.hasEvent[user] === 0) {
      this.hasEvent[user] = 1;
      this.positive[arm] = (this.positive[arm] ?? 0) + 1;
    }
    const moments = this.requests[arm];
    moments[0] += 1;
    moments[1] += v;
    moments[2] += v * v;
    if (this.tail) {
      const bucket = bucketOf(raw);
      this.tail.add(own, user, arm, day * PHASES, bucket);
      const key = (2 * day + arm) * 4096 + bucket;
      const bar = this.bars.get(key) ?? {
        metric: this.name,
        arm: arm === 1 ? 'canary' : 'stable',
        stratum: day * PHASES,
        bucket,
        n: 0,
      };
      bar.n += 1;
      this.bars.set(key, bar);
    }
  }

  totals(): MetricTotals[] {
    return (['stable', 'canary'] as const).flatMap((arm, index) =>
      Array.from({ length: this.strata }, (_, day) => ({
        metric: this.name,
        arm,
        stratum: day * PHASES,
        users: this.users[index as 0 | 1][day] ?? 0,
        n: this.samples[index as 0 | 1][day] ?? 0,
        sum: BigInt(this.sums[index as 0 | 1][day] ?? 0),
        squares: 0n,
      })).filter((row) => row.n > 0),
    );
  }

  bucketTotals(): GateTotals['buckets'] {
    return [...this.bars.values()].map((row) => ({ ...row }));
  }

  squares(request: InfluenceRequest, arm: 0 | 1): ArmInfluence {
    const { strata } = this;
    const offset = Number(request.centre) - (this.origin ?? 0);
    const rows = request.rows.filter((row) => (row.arm === 'canary') === (arm === 1));
    const quadratic = (
      coefficient: (row: (typeof rows)[number]) => number,
      mean: (row: (typeof rows)[number]) => number,
    ) => {
      let total = 0;
      for (const a of rows) {
        const [i, ca, ma] = [a.stratum / PHASES, coefficient(a), mean(a) + offset];
        for (const b of rows) {
          const j = b.stratum / PHASES;
          const mb = mean(b) + offset;
          const at = i * strata + j;
          total +=
            ca *
            coefficient(b) *
            ((this.ss[arm][at] ?? 0) -
              mb * (this.sn[arm][at] ?? 0) -
              ma * (this.sn[arm][j * strata + i] ?? 0) +
              ma * mb * (this.nn[arm][at] ?? 0));
        }
      }
      return BigInt(Math.round(Math.max(0, total)));
    };
    let n2 = 0;
    for (const value of this.nn[arm]) n2 += value;
    return {
      users: this.everyone[arm] ?? 0,
      positive: this.positive[arm] ?? 0,
      n2: BigInt(n2),
      own2: quadratic(
        (row) => row.own,
        (row) => row.mean,
      ),
      asStable2: quadratic(
        (row) => row.asStable,
        (row) => row.pooledMean,
      ),
      asCanary2: quadratic(
        (row) => row.asCanary,
        (row) => row.pooledMean,
      ),
    };
  }

  asData(totals: GateTotals): GateData {
    const { tail } = this;
    if (!tail) throw new Error(`${this.name} has no histogram`);
    return {
      users: this.crowd.length,
      days: [
        {
          metric: this.name,
          arm: tail.arm.view(),
          stratum: tail.stratum.view(),
          user: tail.user.view(),
          n: tail.n.view(),
          sum: new Float64Array(tail.n.length),
          shift: 0,
          squares: [],
        },
      ],
      buckets: [
        {
          metric: this.name,
          arm: tail.barArm.view(),
          stratum: tail.barStratum.view(),
          user: tail.barUser.view(),
          bucket: tail.barBucket.view(),
          n: tail.barN.view(),
        },
      ],
      totals,
    };
  }
}
