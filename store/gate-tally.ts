import { ExactSum, ExactSumOfSquares } from '../domain/gate/exact.ts';
import type { ArmInfluence, InfluenceRequest } from '../domain/gate/types.ts';
import type { Arm } from '../domain/words.ts';
import type { Group, UserRows } from './gate-users.ts';

/** Where a metric's n and ledger sum lie in the rows. */
export interface MetricColumns {
  n: string;
  sum: string;
  /** What one of `sum` is worth, ledger units. */
  unit: number;
}

/**
 * The sums of one request over the users of the rows, exactly as `InfluenceRequest` says. `exceedances`: the rows' sums with `above`, by
 * row. A user must have all rows in one call; calls for different users add up.
 */
export function tally(
  request: InfluenceRequest,
  { n: nColumn, sum: sumColumn, unit }: MetricColumns,
  rows: UserRows,
  groups: readonly Group[],
  slots: number,
  exceedances: Float64Array | null,
): Record<Arm, ArmInfluence> {
  const [ns, sums] = [rows.columns[nColumn], rows.columns[sumColumn]];
  if (!ns || !sums) throw new Error(`the rows have no ${nColumn} and ${sumColumn}`);
  const centre = exceedances ? 0 : Number(request.centre);
  const k = coefficients(request, groups);

  const canary = new Uint8Array(slots);
  const positive = new Uint8Array(slots);
  const [total, own, asStable, asCanary] = [0, 0, 0, 0].map(() => new Float64Array(slots));
  if (!total || !own || !asStable || !asCanary) throw new Error('no arrays');
  for (let row = 0; row < rows.length; row += 1) {
    const group = rows.group[row] ?? 0;
    const n = ns[row] ?? 0;
    if (n === 0 || k.wanted[group] === 0) continue;
    const slot = rows.slot[row] ?? 0;
    const sum = exceedances ? (exceedances[row] ?? 0) : (sums[row] ?? 0) * unit;
    const centred = sum - centre * n;
    const residual = centred - (k.mean[group] ?? 0) * n;
    const pooled = centred - (k.pooledMean[group] ?? 0) * n;
    canary[slot] = k.canary[group] ?? 0;
    if (sum > 0) positive[slot] = 1;
    total[slot] = (total[slot] ?? 0) + n;
    own[slot] = (own[slot] ?? 0) + Math.floor((k.own[group] ?? 0) * residual + 0.5);
    asStable[slot] = (asStable[slot] ?? 0) + Math.floor((k.asStable[group] ?? 0) * pooled + 0.5);
    asCanary[slot] = (asCanary[slot] ?? 0) + Math.floor((k.asCanary[group] ?? 0) * pooled + 0.5);
  }

  const arms = [new ArmTally(), new ArmTally()] as const;
  for (let slot = 0; slot < slots; slot += 1) {
    const n = total[slot] ?? 0;
    if (n === 0) continue;
    arms[canary[slot] === 1 ? 1 : 0].add(
      n,
      exceedances ? 0 : (positive[slot] ?? 0),
      own[slot] ?? 0,
      asStable[slot] ?? 0,
      asCanary[slot] ?? 0,
    );
  }
  return { stable: arms[0].influence(), canary: arms[1].influence() };
}

/** The request's rows by group, as arrays that are quick to read. */
function coefficients(request: InfluenceRequest, groups: readonly Group[]) {
  const of = (value: (row: InfluenceRequest['rows'][number]) => number) =>
    Float64Array.from(found, (row) => (row ? value(row) : 0));
  const found = groups.map(({ arm, stratum }) =>
    request.rows.find((row) => row.arm === arm && row.stratum === stratum),
  );
  return {
    wanted: Uint8Array.from(found, (row) => (row ? 1 : 0)),
    canary: Uint8Array.from(groups, ({ arm }) => (arm === 'canary' ? 1 : 0)),
    mean: of((row) => row.mean),
    pooledMean: of((row) => row.pooledMean),
    own: of((row) => row.own),
    asStable: of((row) => row.asStable),
    asCanary: of((row) => row.asCanary),
  };
}

class ArmTally {
  #users = 0;
  #positive = 0;
  readonly #n2 = new ExactSum();
  readonly #own2 = new ExactSumOfSquares();
  readonly #asStable2 = new ExactSumOfSquares();
  readonly #asCanary2 = new ExactSumOfSquares();

  add(n: number, positive: number, own: number, asStable: number, asCanary: number): void {
    this.#users += 1;
    this.#positive += positive;
    this.#n2.add(n * n);
    this.#own2.add(own);
    this.#asStable2.add(asStable);
    this.#asCanary2.add(asCanary);
  }

  influence(): ArmInfluence {
    return {
      users: this.#users,
      positive: this.#positive,
      n2: this.#n2.total(),
      own2: this.#own2.total(),
      asStable2: this.#asStable2.total(),
      asCanary2: this.#asCanary2.total(),
    };
  }
}

export const nobody: ArmInfluence = {
  users: 0,
  positive: 0,
  n2: 0n,
  own2: 0n,
  asStable2: 0n,
  asCanary2: 0n,
};

/** The sums of different users. */
export function added(a: ArmInfluence, b: ArmInfluence): ArmInfluence {
  return {
    users: a.users + b.users,
    positive: a.positive + b.positive,
    n2: a.n2 + b.n2,
    own2: a.own2 + b.own2,
    asStable2: a.asStable2 + b.asStable2,
    asCanary2: a.asCanary2 + b.asCanary2,
  };
}
