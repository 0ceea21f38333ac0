import { baselineOf, baselineRequests } from '../domain/gate/baseline.ts';
import { SampleCollector } from '../domain/gate/collect.ts';
import { influenceSums, totalsOf } from '../domain/gate/in-memory.ts';
import type { GateBaseline, GateFigures, GatePolicy, GateTotals } from '../domain/gate/types.ts';
import { latestQuiet, type Span } from '../domain/release/quiet.ts';
import type { Database, Queryable } from './database.ts';
import { readInfluences } from './gate-influences.ts';
import { inSnapshot, type Snapshot } from './gate-snapshot.ts';
import { readTotals } from './gate-totals.ts';
import { type JudgedColumns, metricsOf } from './ledger/records.ts';

const DAY = 86_400_000;
/** Slices of a first horizon that is shorter than days. */
const SLICES = 6;
/** Traffic from longer ago than so many first horizons is not taken for that of today. */
const MEMORY = 8;

export interface BaselineSubject {
  application: string;
  gate: GatePolicy;
  /** ms since 1970 */
  now: number;
}

/**
 * What is known of an application's traffic outside its releases, over a span as long as the first horizon, the latest that no canary
 * disturbed. null: there is no such span yet.
 */
export async function readBaseline(db: Database, subject: BaselineSubject): Promise<GateBaseline | null> {
  const { application, gate, now } = subject;
  const length = gate.horizons[0] ?? 0;
  const experiment = await quietExperiment(db, application);
  if (experiment === null) return null;
  const whole = length >= DAY ? DAY : length / SLICES;
  const span = latestQuiet({
    canaries: await canariesOf(db, application, now),
    since: now - MEMORY * length,
    now,
    length,
    whole,
  });
  if (span === null || !(await covers(db, experiment, span, whole))) return null;
  const figures =
    length >= DAY ? await ofDays(db, experiment, span, gate) : await ofSamples(db, experiment, span, gate);
  return baselineOf(gate, figures);
}

/** The experiment that gathers the traffic outside any release. */
async function quietExperiment(db: Queryable, application: string): Promise<number | null> {
  const { rows } = await db.query<{ id: number }>(
    `select id from experiments where application = $1 and release = ''`,
    [application],
  );
  return rows[0]?.id ?? null;
}

async function canariesOf(db: Queryable, application: string, now: number): Promise<Span[]> {
  const { rows } = await db.query<{ from: Date; to: Date | null }>(
    `select canary_since as from, ended_at as to from releases where application = $1 and canary_since is not null`,
    [application],
  );
  return rows.map(({ from, to }) => ({ from: from.getTime(), to: to?.getTime() ?? now }));
}

/** Was there traffic from the beginning of the span on? */
async function covers(db: Queryable, experiment: number, { from }: Span, whole: number): Promise<boolean> {
  const { rows } = await db.query<{ covered: boolean }>(
    'select exists (select from samples where experiment = $1 and at >= $2 and at < $3) as covered',
    [experiment, new Date(from), new Date(from + whole)],
  );
  return rows[0]?.covered ?? false;
}

/** Long spans: from the per-user rows, whose strata are UTC days since 1970. */
async function ofDays(
  db: Database,
  experiment: number,
  { from, to }: Span,
  gate: GatePolicy,
): Promise<GateFigures> {
  return inSnapshot(db, async (snapshot) => {
    const window = { release: '', from: 0, to, stratum: DAY, phases: [{ weight: gate.weight }] };
    const all = await readTotals(snapshot.tx, window, experiment, gate.metrics);
    const first = (from / DAY) * 64;
    const inSpan = (row: { stratum: number }) => row.stratum >= first;
    const totals: GateTotals = {
      ...all,
      traffic: (await newInSpan(snapshot, experiment, first, all)).filter(inSpan),
      metrics: all.metrics.filter(inSpan),
      buckets: all.buckets.filter(inSpan),
    };
    const rows = totals.traffic.reduce((sum, { users }) => sum + users, 0);
    const requests = baselineRequests(gate.metrics, totals);
    const sums = requests.length === 0 ? [] : await readInfluences(snapshot, experiment, requests, rows);
    const shifted = <Row extends { stratum: number }>(list: readonly Row[]) =>
      list.map((row) => ({ ...row, stratum: row.stratum - first }));
    return {
      totals: {
        ...totals,
        from,
        to,
        traffic: shifted(totals.traffic),
        metrics: shifted(totals.metrics),
        buckets: shifted(totals.buckets),
      },
      sums,
    };
  });
}

/** A user is new where the span first sees them, however long they have been there. */
async function newInSpan(
  { tx }: Snapshot,
  experiment: number,
  first: number,
  { traffic }: GateTotals,
): Promise<GateTotals['traffic']> {
  const { rows } = await tx.query<{ stratum: number; users: number }>(
    `select stratum, count(*) as users
       from (select min(stratum) as stratum from user_strata where experiment = $1 and stratum >= $2 and arm = 'stable' group by user_id) u
      group by stratum`,
    [experiment, first],
  );
  return traffic.map((row) => ({
    ...row,
    newUsers: row.arm === 'stable' ? (rows.find(({ stratum }) => stratum === row.stratum)?.users ?? 0) : 0,
  }));
}

/** Short spans, as compressed policies have: from the samples. */
async function ofSamples(
  db: Database,
  experiment: number,
  { from, to }: Span,
  gate: GatePolicy,
): Promise<GateFigures> {
  const { rows } = await db.query<
    JudgedColumns & { at: Date; user: number; scores: Record<string, number> | null }
  >(
    `select at, user_id as user, failed, interrupted, violations, latency, ttft, tpot, cost,
            (select json_object_agg('quality:' || evaluator, score) from scores where request_id = s.id and batch is not null) as scores
       from samples s where experiment = $1 and at >= $2 and at < $3 and arm = 'stable'`,
    [experiment, new Date(from), new Date(to)],
  );
  const phases = [{ since: from, weight: gate.weight }];
  const collector = new SampleCollector({
    from,
    stratum: (to - from) / SLICES,
    phases,
    metrics: gate.metrics,
  });
  for (const row of rows) {
    const values = { ...Object.fromEntries(metricsOf(row)), ...row.scores };
    collector.add({ at: row.at.getTime(), user: String(row.user), arm: 'stable', values });
  }
  const data = collector.finish(to);
  const totals = totalsOf(data);
  return {
    totals,
    sums: baselineRequests(gate.metrics, totals).map((request) => influenceSums(request, data)),
  };
}
