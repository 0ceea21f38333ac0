import type { Arm } from '../domain/words.ts';
import { type Database, inTransaction, type Queryable, type Transaction } from './database.ts';
import { nextBatch } from './ledger/batch.ts';
import { insertColumns } from './ledger/columns.ts';
import { metricsOf, type SampleRecord } from './ledger/records.ts';
import { attachWaiting } from './ledger/scores.ts';
import { Increments } from './ledger/statistics.ts';

export { watermark } from './ledger/batch.ts';
export type { SampleRecord } from './ledger/records.ts';
export { type AttachedScore, attachScores, type Score, saveFeedback } from './ledger/scores.ts';
export { forgetUnmatchedScores } from './ledger/unmatched.ts';

export interface BatchResult {
  batch: number;
  /** Records that were new; the others were replays and changed nothing. */
  inserted: number;
}

/**
 * Puts records into the ledger with everything that follows from them: statistics, scores that were waiting, answers to be scored. All
 * in one transaction and only for records whose id is new, so that a batch may be replayed any number of times, whole or in parts.
 */
export async function recordBatch(db: Database, records: readonly SampleRecord[]): Promise<BatchResult> {
  if (records.length === 0) return { batch: 0, inserted: 0 };
  return inTransaction(db, async (tx) => {
    const batch = await nextBatch(tx);
    await openDays(tx, records);
    const experiments = await openExperiments(tx, records);
    const users = await openUsers(tx, records);
    const experimentOf = (record: SampleRecord) => known(experiments, experimentKey(record));
    const userOf = (record: SampleRecord) => (record.user === null ? null : known(users, record.user));

    const fresh = await insertSamples(tx, batch, records, experimentOf, userOf);
    const increments = new Increments();
    for (const record of fresh) {
      const userId = userOf(record);
      if (record.arm === null || userId === null) continue;
      const place = { experiment: experimentOf(record), arm: record.arm, stratum: record.stratum, userId };
      increments.addRequest(place);
      for (const [metric, value] of metricsOf(record)) increments.addValue(place, metric, value);
    }
    await attachWaiting(
      tx,
      batch,
      fresh.map((record) => record.id),
      increments,
    );
    await increments.write(tx);
    await enqueueScoring(tx, fresh);
    return { batch, inserted: fresh.length };
  });
}

/** Makes the partitions of today and tomorrow, so that no batch at midnight waits for one. */
export async function openDaysAhead(db: Database, now: number): Promise<void> {
  await inTransaction(db, async (tx) => {
    await nextBatch(tx);
    await openDays(tx, [{ at: now }, { at: now + 86_400_000 }]);
  });
}

async function openDays(tx: Transaction, records: readonly { at: number }[]): Promise<void> {
  const days = new Set(records.map((record) => new Date(record.at).toISOString().slice(0, 10)));
  await tx.query('select open_day(day) from unnest($1::date[]) as day', [[...days].sort()]);
}

function experimentKey(record: { application: string; release: string | null }): string {
  return JSON.stringify([record.application, record.release ?? '']);
}

async function openExperiments(
  tx: Transaction,
  records: readonly SampleRecord[],
): Promise<Map<string, number>> {
  const wanted = new Map(records.map((record) => [experimentKey(record), record]));
  const keys = [...wanted.keys()].sort();
  const { rows } = await tx.query<{ id: number }>(
    `select open_experiment(application, release) as id
       from unnest($1::text[], $2::text[]) with ordinality as wanted (application, release, position) order by position`,
    [keys.map((key) => wanted.get(key)?.application), keys.map((key) => wanted.get(key)?.release ?? '')],
  );
  return new Map(keys.flatMap((key, index) => (rows[index] ? [[key, rows[index].id] as const] : [])));
}

async function openUsers(tx: Transaction, records: readonly SampleRecord[]): Promise<Map<string, number>> {
  const keys = [...new Set(records.flatMap((record) => record.user ?? []))].sort();
  await tx.query(
    `insert into ledger_users (key)
     select wanted from unnest($1::text[]) as wanted where not exists (select from ledger_users where key = wanted)`,
    [keys],
  );
  const { rows } = await tx.query<{ id: number; key: string }>(
    'select id, key from ledger_users where key = any($1::text[])',
    [keys],
  );
  return new Map(rows.map((row) => [row.key, row.id]));
}

function known<V>(map: Map<string, V>, key: string): V {
  const value = map.get(key);
  if (value === undefined) throw new Error('the ledger lost a row that it has just written');
  return value;
}

/** @returns the records that were not there yet, each id once */
async function insertSamples(
  tx: Transaction,
  batch: number,
  records: readonly SampleRecord[],
  experimentOf: (record: SampleRecord) => number,
  userOf: (record: SampleRecord) => number | null,
): Promise<SampleRecord[]> {
  const byId = new Map(records.map((record) => [record.id.toLowerCase(), record]));
  const list = [...byId.values()];
  const of = (value: (record: SampleRecord) => unknown) => list.map(value);
  const inserted = await insertColumns<{ id: string }>(
    tx,
    'samples',
    {
      id: ['uuid', of((r) => r.id)],
      at: ['timestamptz', of((r) => new Date(r.at).toISOString())],
      batch: ['bigint', of(() => batch)],
      experiment: ['int', of(experimentOf)],
      tenant: ['text', of((r) => r.tenant)],
      arm: ['arm', of((r) => r.arm)],
      user_id: ['bigint', of(userOf)],
      stratum: ['int', of((r) => r.stratum)],
      revision: ['text', of((r) => r.revision)],
      endpoint: ['text', of((r) => r.endpoint)],
      status: ['int', of((r) => r.status)],
      reason: ['text', of((r) => r.reason)],
      failed: ['boolean', of((r) => r.failed)],
      interrupted: ['boolean', of((r) => r.interrupted)],
      streamed: ['boolean', of((r) => r.streamed)],
      finish_reason: ['text', of((r) => r.finishReason)],
      violations: ['int', of((r) => r.violations)],
      latency: ['float8', of((r) => r.latency)],
      ttft: ['float8', of((r) => r.ttft)],
      tpot: ['float8', of((r) => r.tpot)],
      cost: ['float8', of((r) => r.cost)],
      prompt_tokens: ['int', of((r) => r.promptTokens)],
      completion_tokens: ['int', of((r) => r.completionTokens)],
      cached_tokens: ['int', of((r) => r.cachedTokens)],
    },
    'on conflict do nothing returning id',
  );
  return inserted.flatMap((row) => byId.get(row.id) ?? []);
}

async function enqueueScoring(tx: Transaction, records: readonly SampleRecord[]): Promise<void> {
  const wanted = records.flatMap((record) =>
    record.scoring === null ? [] : [{ ...record.scoring, id: record.id, application: record.application }],
  );
  await insertColumns(
    tx,
    'scoring_queue',
    {
      request_id: ['uuid', wanted.map((row) => row.id)],
      application: ['text', wanted.map((row) => row.application)],
      input: ['text', wanted.map((row) => row.input)],
      output: ['text', wanted.map((row) => row.output)],
    },
    'on conflict do nothing',
  );
}

/** The experiment of a release; null before its first sample. */
export async function experimentOf(db: Queryable, release: string): Promise<number | null> {
  const { rows } = await db.query<{ id: number }>(
    `select id from experiments where release = $1 and release <> '' order by id limit 1`,
    [release],
  );
  return rows[0]?.id ?? null;
}

export interface ArmCount {
  samples: number;
  users: number;
}

/** Samples in the gate and their users, per arm of a release. */
export async function countArms(db: Queryable, release: string): Promise<Record<Arm, ArmCount>> {
  const { rows } = await db.query<Record<'stable' | 'canary' | 'stableUsers' | 'canaryUsers', number>>(
    `select coalesce(sum(u.stable_requests), 0)::bigint as stable, coalesce(sum(u.canary_requests), 0)::bigint as canary,
            count(*) filter (where u.stable_requests > 0) as "stableUsers",
            count(*) filter (where u.canary_requests > 0) as "canaryUsers"
       from experiment_users u where u.experiment = (select id from experiments where release = $1 and release <> '' limit 1)`,
    [release],
  );
  const counts = rows[0];
  return {
    stable: { samples: counts?.stable ?? 0, users: counts?.stableUsers ?? 0 },
    canary: { samples: counts?.canary ?? 0, users: counts?.canaryUsers ?? 0 },
  };
}
