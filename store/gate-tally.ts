import { ExactSum, ExactSumOfSquares } from '../domain/gate/exact.ts';
import { nobody } from '../domain/gate/influence.ts';
import type { ArmInfluence, InfluenceRequest } from '../domain/gate/types.ts';
import type { Arm } from '../domain/words.ts';
import type { UserTable } from './gate-users.ts';

/** A request, and where its metric's n and ledger sum lie in the table's rows. */
export interface TallyRequest {
  request: InfluenceRequest;
  n: string;
  sum: string;
  /** What one of `sum` is worth, ledger units. */
  unit: number;
}

/** Numbers per group and request: is it wanted, and the coefficients of `InfluenceRow`. */
const WANTED = 0;
const MEAN = 1;
const POOLED_MEAN = 2;
const OWN = 3;
const AS_STABLE = 4;
const AS_CANARY = 5;
const COEFFICIENTS = 6;

/**
 * The sums of all requests on one table in one walk over its users, exactly as `InfluenceRequest` says. Sums over different users may be
 * added (`addedSums`).
 */
export function tally(table: UserTable, requests: readonly TallyRequest[]): Record<Arm, ArmInfluence>[] {
  const count = requests.length;
  const nAt = Int32Array.from(requests, ({ n }) => table.at.get(n) ?? -1);
  const sumAt = Int32Array.from(requests, ({ sum }) => table.at.get(sum) ?? -1);
  const unit = Float64Array.from(requests, (request) => request.unit);
  const centre = Float64Array.from(requests, ({ request }) => Number(request.centre));
  const k = coefficients(table, requests);
  const stride = count * COEFFICIENTS;

  // Of the slot that is being walked.
  const total = new Float64Array(count);
  const own = new Float64Array(count);
  const asStable = new Float64Array(count);
  const asCanary = new Float64Array(count);
  const positive = new Uint8Array(count);

  const row = (data: Float64Array, base: number) => {
    let at = (data[base + 1] ?? 0) * stride;
    for (let index = 0; index < count; index += 1, at += COEFFICIENTS) {
      const n = data[base + (nAt[index] ?? 0)] ?? 0;
      if (n === 0 || k[at + WANTED] === 0) continue;
      const sum = (data[base + (sumAt[index] ?? 0)] ?? 0) * (unit[index] ?? 0);
      const centred = sum - (centre[index] ?? 0) * n;
      const residual = centred - (k[at + MEAN] ?? 0) * n;
      const pooled = centred - (k[at + POOLED_MEAN] ?? 0) * n;
      if (sum > 0) positive[index] = 1;
      total[index] = (total[index] ?? 0) + n;
      own[index] = (own[index] ?? 0) + Math.floor((k[at + OWN] ?? 0) * residual + 0.5);
      asStable[index] = (asStable[index] ?? 0) + Math.floor((k[at + AS_STABLE] ?? 0) * pooled + 0.5);
      asCanary[index] = (asCanary[index] ?? 0) + Math.floor((k[at + AS_CANARY] ?? 0) * pooled + 0.5);
    }
  };

  const arms = {
    stable: requests.map(() => new ArmTally()),
    canary: requests.map(() => new ArmTally()),
  };
  const end = (canary: boolean) => {
    const tallies = canary ? arms.canary : arms.stable;
    for (let index = 0; index < count; index += 1) {
      const n = total[index] ?? 0;
      if (n === 0) continue;
      tallies[index]?.add(
        n,
        positive[index] ?? 0,
        own[index] ?? 0,
        asStable[index] ?? 0,
        asCanary[index] ?? 0,
      );
      total[index] = own[index] = asStable[index] = asCanary[index] = positive[index] = 0;
    }
  };
  table.walk(row, end);

  return requests.map(({ request }, index) => {
    const of = (arm: Arm): ArmInfluence => {
      const influence = arms[arm][index]?.influence() ?? nobody;
      return request.above ? { ...influence, positive: 0 } : influence;
    };
    return { stable: of('stable'), canary: of('canary') };
  });
}

function coefficients(table: UserTable, requests: readonly TallyRequest[]): Float64Array {
  const k = new Float64Array(table.groups.length * requests.length * COEFFICIENTS);
  for (const [group, { arm, stratum }] of table.groups.entries()) {
    for (const [index, { request }] of requests.entries()) {
      const row = request.rows.find((candidate) => candidate.arm === arm && candidate.stratum === stratum);
      if (!row) continue;
      const values = [1, row.mean, row.pooledMean, row.own, row.asStable, row.asCanary];
      k.set(values, (group * requests.length + index) * COEFFICIENTS);
    }
  }
  return k;
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
