import { bucketOf } from '../../domain/gate/histogram.ts';
import { FIXED_POINT, hasHistogram, ledgerValue } from '../../domain/gate/metrics.ts';
import type { Arm } from '../../domain/words.ts';
import type { Transaction } from '../database.ts';
import { type Columns, insertColumns, upsertAdding } from './columns.ts';

/** Where a value belongs: one user in one arm and stratum of an experiment. */
export interface Place {
  experiment: number;
  arm: Arm;
  stratum: number;
  userId: number;
}

interface UserSums {
  requests: number;
  sums: Map<string, { n: number; sum: bigint }>;
}

interface Totals {
  metric: string;
  /** Users whose first value of the metric in the arm and stratum this is; known when the users' rows are written. */
  users: number;
  n: number;
  sum: bigint;
  squares: bigint;
}

/**
 * What a batch adds to the ledger's statistics, gathered in memory and written with one statement a table. Rows are written in the order
 * of their keys.
 */
export class Increments {
  readonly #users = new Map<string, Place & UserSums>();
  readonly #userBuckets = new Map<string, Place & { metric: string; bucket: number; n: number }>();
  readonly #totals = new Map<string, Place & Totals>();
  readonly #buckets = new Map<string, Place & { metric: string; bucket: number; n: number }>();
  readonly #unusable = new Map<string, Place & { metric: string; reason: string; n: number }>();

  addRequest(place: Place): void {
    this.#user(place).requests += 1;
  }

  /** @param value in the metric's unit */
  addValue(place: Place, metric: string, value: number): void {
    const { experiment, arm, userId } = place;
    const stored = ledgerValue(metric, value);
    if ('unusable' in stored) {
      const reason = stored.unusable;
      entry(this.#unusable, `${experiment}/${metric}/${arm}/${reason}`, () => ({
        ...place,
        metric,
        reason,
        n: 0,
      })).n += 1;
      return;
    }
    const fixed = BigInt(stored.value);
    const sums = entry(this.#user(place).sums, metric, () => ({ n: 0, sum: 0n }));
    sums.n += 1;
    sums.sum += fixed;
    const key = totalsKey(place, metric);
    const totals = entry(this.#totals, key, () => ({
      ...place,
      metric,
      users: 0,
      n: 0,
      sum: 0n,
      squares: 0n,
    }));
    totals.n += 1;
    totals.sum += fixed;
    totals.squares += fixed * fixed;
    if (!hasHistogram(metric)) return;
    const bucket = bucketOf(value);
    entry(this.#buckets, `${key}/${bucket}`, () => ({ ...place, metric, bucket, n: 0 })).n += 1;
    entry(this.#userBuckets, `${key}/${bucket}/${userId}`, () => ({ ...place, metric, bucket, n: 0 })).n += 1;
  }

  #user(place: Place): Place & UserSums {
    return entry(this.#users, userKey(place), () => ({ ...place, requests: 0, sums: new Map() }));
  }

  async write(tx: Transaction): Promise<void> {
    await this.#writeExperimentUsers(tx);
    await this.#writeUserStrata(tx);
    await this.#writeUserScores(tx);
    await upsertAdding(tx, 'user_buckets', ['n'], bucketColumns(sorted(this.#userBuckets), true));
    await upsertAdding(tx, 'stratum_buckets', ['n'], bucketColumns(sorted(this.#buckets), false));
    const totals = sorted(this.#totals);
    await upsertAdding(tx, 'stratum_totals', ['users', 'n', 'sum', 'squares'], {
      ...placeColumns(totals, false),
      metric: ['text', totals.map((row) => row.metric)],
      users: ['bigint', totals.map((row) => row.users)],
      n: ['bigint', totals.map((row) => row.n)],
      sum: ['numeric', totals.map((row) => row.sum)],
      squares: ['numeric', totals.map((row) => row.squares)],
    });
    const unusable = sorted(this.#unusable);
    await upsertAdding(tx, 'unusable_samples', ['n'], {
      experiment: ['int', unusable.map((row) => row.experiment)],
      metric: ['text', unusable.map((row) => row.metric)],
      arm: ['arm', unusable.map((row) => row.arm)],
      reason: ['text', unusable.map((row) => row.reason)],
      n: ['bigint', unusable.map((row) => row.n)],
    });
  }

  async #writeExperimentUsers(tx: Transaction): Promise<void> {
    interface Row extends Place {
      stable: number;
      canary: number;
      first: number;
      error: { stratum: number; arm: Arm } | null;
    }
    const rows = new Map<string, Row>();
    for (const place of this.#users.values()) {
      if (place.requests === 0) continue;
      const row = entry(rows, `${place.experiment}/${place.userId}`, () => ({
        ...place,
        stable: 0,
        canary: 0,
        first: place.stratum,
        error: null,
      }));
      row[place.arm] += place.requests;
      row.first = Math.min(row.first, place.stratum);
      if ((place.sums.get('error')?.sum ?? 0n) === 0n) continue;
      if (row.error === null || place.stratum < row.error.stratum) {
        row.error = { stratum: place.stratum, arm: place.arm };
      } else if (place.stratum === row.error.stratum && place.arm === 'stable') {
        row.error.arm = 'stable';
      }
    }
    const list = sorted(rows);
    await insertColumns(
      tx,
      'experiment_users',
      {
        experiment: ['int', list.map((row) => row.experiment)],
        user_id: ['bigint', list.map((row) => row.userId)],
        stable_requests: ['int', list.map((row) => row.stable)],
        canary_requests: ['int', list.map((row) => row.canary)],
        first_stratum: ['int', list.map((row) => row.first)],
        first_error_stratum: ['int', list.map((row) => row.error?.stratum ?? null)],
        first_error_arm: ['arm', list.map((row) => row.error?.arm ?? null)],
      },
      `on conflict (experiment, user_id) do update set
         stable_requests = old.stable_requests + excluded.stable_requests,
         canary_requests = old.canary_requests + excluded.canary_requests,
         first_stratum = least(old.first_stratum, excluded.first_stratum),
         first_error_stratum = least(old.first_error_stratum, excluded.first_error_stratum),
         first_error_arm = case when old.first_error_stratum < excluded.first_error_stratum then old.first_error_arm
                                when old.first_error_stratum = excluded.first_error_stratum
                                  then least(old.first_error_arm, excluded.first_error_arm)
                                else coalesce(excluded.first_error_arm, old.first_error_arm) end`,
    );
  }

  async #writeUserStrata(tx: Transaction): Promise<void> {
    const rows = sorted(this.#users).filter((row) => row.requests > 0);
    const n = (metric: string) => rows.map((row) => row.sums.get(metric)?.n ?? 0);
    const sum = (metric: string) => rows.map((row) => row.sums.get(metric)?.sum ?? 0n);
    const events = (metric: string) => sum(metric).map((value) => Number(value / BigInt(FIXED_POINT)));
    const added: Columns = {
      requests: ['int', rows.map((row) => row.requests)],
      errors: ['int', events('error')],
      violations: ['int', events('violation')],
    };
    for (const metric of ['latency', 'ttft', 'tpot', 'cost']) {
      added[`${metric}_n`] = ['int', n(metric)];
      added[`${metric}_sum`] = ['bigint', sum(metric)];
    }
    const columns = { ...placeColumns(rows, true), ...added };
    const own = ['latency', 'ttft', 'tpot', 'cost'];
    const returning = `experiment, arm, stratum, user_id as "userId", requests as error, requests as violation,
                       ${own.map((metric) => `${metric}_n as ${metric}`).join(', ')}`;
    const written = await upsertAdding<Place & Record<string, number>>(
      tx,
      'user_strata',
      Object.keys(added),
      columns,
      returning,
    );
    for (const row of written)
      for (const metric of ['error', 'violation', ...own]) this.#countUser(row, metric, row[metric] ?? 0);
  }

  async #writeUserScores(tx: Transaction): Promise<void> {
    const rows = sorted(this.#users).flatMap((row) =>
      [...row.sums]
        .filter(([metric]) => metric.startsWith('quality:'))
        .map(([metric, { n, sum }]) => ({ ...row, evaluator: metric.slice('quality:'.length), n, sum })),
    );
    const written = await upsertAdding<Place & { evaluator: string; n: number }>(
      tx,
      'user_scores',
      ['n', 'sum'],
      {
        ...placeColumns(rows, true),
        evaluator: ['text', rows.map((row) => row.evaluator)],
        n: ['int', rows.map((row) => row.n)],
        sum: ['bigint', rows.map((row) => row.sum)],
      },
      'experiment, arm, stratum, user_id as "userId", evaluator, n',
    );
    for (const row of written) this.#countUser(row, `quality:${row.evaluator}`, row.n);
  }

  /** A user whose values, all of them, came with this batch is new to the metric. `n`: values that the user has now. */
  #countUser(place: Place, metric: string, n: number): void {
    const added = this.#users.get(userKey(place))?.sums.get(metric)?.n ?? 0;
    const totals = this.#totals.get(totalsKey(place, metric));
    if (totals && added > 0 && n === added) totals.users += 1;
  }
}

function userKey({ experiment, userId, stratum, arm }: Place): string {
  return `${experiment}/${userId}/${stratum}/${arm}`;
}

function totalsKey({ experiment, arm, stratum }: Place, metric: string): string {
  return `${experiment}/${metric}/${arm}/${stratum}`;
}

function placeColumns(rows: Place[], withUser: boolean): Columns {
  const columns: Columns = {
    experiment: ['int', rows.map((row) => row.experiment)],
    arm: ['arm', rows.map((row) => row.arm)],
    stratum: ['int', rows.map((row) => row.stratum)],
  };
  if (withUser) columns.user_id = ['bigint', rows.map((row) => row.userId)];
  return columns;
}

function bucketColumns(
  rows: (Place & { metric: string; bucket: number; n: number })[],
  withUser: boolean,
): Columns {
  return {
    ...placeColumns(rows, withUser),
    metric: ['text', rows.map((row) => row.metric)],
    bucket: ['smallint', rows.map((row) => row.bucket)],
    n: [withUser ? 'int' : 'bigint', rows.map((row) => row.n)],
  };
}

function entry<V>(map: Map<string, V>, key: string, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    map.set(key, value);
  }
  return value;
}

function sorted<V>(map: Map<string, V>): V[] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, value]) => value);
}
