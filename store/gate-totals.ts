import { phaseOf, sliceOf } from '../domain/gate/strata.ts';
import type {
  BucketTotals,
  GateMetric,
  GateTotals,
  MetricTotals,
  TrafficTotals,
  UnusableSamples,
} from '../domain/gate/types.ts';
import type { Arm } from '../domain/words.ts';
import type { Queryable } from './database.ts';

/** What of a release's ledger is looked at. Times are ms since 1970. */
export interface GateWindow {
  release: string;
  /** The canary began. */
  from: number;
  /** Strata that begin at or after this are left out: the time of a look, or of the horizon. */
  to: number;
  /** Length of a stratum, ms. */
  stratum: number;
  /** Weight of each phase of the release: the canary, then the steps of its promotion. */
  phases: readonly { weight: number }[];
  /** Samples dated this long (ms) after `to` are reported as outside the window, because a clock is ahead; left out: none are. */
  tolerance?: number;
}

/** Only strata with users on both arms compare anything; with weight 1 there is nobody on stable, and no share to test. */
function comparable({ phases }: GateWindow, stratum: number): boolean {
  const weight = phases[phaseOf(stratum)]?.weight;
  return weight === undefined || (weight > 0 && weight < 1);
}

type Place = 'inside' | 'outside' | 'left-out';

function placeOf(window: GateWindow, stratum: number): Place {
  if (stratum < 0) return 'outside';
  const begins = window.from + sliceOf(stratum) * window.stratum;
  if (begins >= window.to) {
    return window.tolerance !== undefined && begins > window.to + window.tolerance ? 'outside' : 'left-out';
  }
  return comparable(window, stratum) ? 'inside' : 'left-out';
}

export function isInside(window: GateWindow, stratum: number): boolean {
  return placeOf(window, stratum) === 'inside';
}

/** Per (arm, stratum) of one experiment, whatever its source. */
export interface ExperimentRows {
  users: { arm: Arm; stratum: number; users: number; requests: number }[];
  /** Users by the arm and stratum of their first request, and of their first failed one. */
  firsts: { kind: 'request' | 'error'; arm: Arm; stratum: number; users: number }[];
  metrics: MetricTotals[];
  buckets: BucketTotals[];
  unusable: UnusableSamples[];
}

/** Pass 1 from the ledger's statistics. */
export async function readTotals(
  db: Queryable,
  window: GateWindow,
  /** null: nothing was ever recorded. */
  experiment: number | null,
  metrics: readonly GateMetric[],
): Promise<GateTotals> {
  return totalsOf(window, experiment === null ? nothing : await readRows(db, experiment, metrics));
}

/** Pass 1 from rows: what is in the window, and what is not said aloud. */
export function totalsOf(window: GateWindow, rows: ExperimentRows): GateTotals {
  const { from, to, stratum, phases } = window;
  const inside = (row: { stratum: number }) => isInside(window, row.stratum);
  const traffic = new Map<string, TrafficTotals>();
  const outside = { stable: 0, canary: 0 };
  for (const { arm, stratum: id, users, requests } of rows.users) {
    if (placeOf(window, id) === 'outside') outside[arm] += requests;
    if (!isInside(window, id)) continue;
    traffic.set(`${arm} ${id}`, { arm, stratum: id, users, newUsers: 0, requests, firstErrors: 0 });
  }
  for (const { kind, arm, stratum: id, users } of rows.firsts) {
    const row = traffic.get(`${arm} ${id}`);
    if (row) row[kind === 'request' ? 'newUsers' : 'firstErrors'] += users;
  }
  return {
    from,
    to,
    stratum,
    phases: phases.map(({ weight }) => ({ weight })),
    traffic: [...traffic.values()],
    metrics: rows.metrics.filter(inside),
    buckets: rows.buckets.filter(inside),
    unusable: [
      ...rows.unusable,
      ...(['stable', 'canary'] as const).flatMap((arm) =>
        outside[arm] > 0 ? [{ metric: '*', arm, reason: 'outside-window' as const, n: outside[arm] }] : [],
      ),
    ],
  };
}

const nothing: ExperimentRows = { users: [], firsts: [], metrics: [], buckets: [], unusable: [] };

async function readRows(
  db: Queryable,
  experiment: number,
  metrics: readonly GateMetric[],
): Promise<ExperimentRows> {
  // Nobody leaves the canary (invariant 3), so whoever was ever on stable was there first. One scan for both kinds of firsts.
  const people = await db.query<{
    arm: Arm;
    stratum: number;
    errorArm: Arm | null;
    errorStratum: number | null;
    users: number;
  }>(
    `select case when stable_requests > 0 then 'stable'::arm else 'canary' end as arm, first_stratum as stratum,
            first_error_arm as "errorArm", first_error_stratum as "errorStratum", count(*) as users
       from experiment_users where experiment = $1 group by 1, 2, 3, 4`,
    [experiment],
  );
  const totals = await db.query<Omit<MetricTotals, 'sum' | 'squares'> & { sum: string; squares: string }>(
    `select metric, arm, stratum, users, n, sum, squares from stratum_totals where experiment = $1`,
    [experiment],
  );
  const buckets = await db.query<BucketTotals>(
    `select metric, arm, stratum, bucket, n from stratum_buckets
      where experiment = $1 and metric = any($2::text[])`,
    [experiment, percentileMetrics(metrics)],
  );
  const unusable = await db.query<UnusableSamples>(
    `select metric, arm, reason, n from unusable_samples where experiment = $1`,
    [experiment],
  );

  return {
    // Every request is one value of the error rate.
    users: totals.rows
      .filter(({ metric }) => metric === 'error')
      .map(({ arm, stratum, users, n }) => ({ arm, stratum, users, requests: n })),
    firsts: people.rows.flatMap(({ arm, stratum, errorArm, errorStratum, users }) => {
      const request = { kind: 'request' as const, arm, stratum, users };
      if (errorArm === null || errorStratum === null) return [request];
      return [request, { kind: 'error' as const, arm: errorArm, stratum: errorStratum, users }];
    }),
    metrics: totals.rows.map((row) => ({ ...row, sum: BigInt(row.sum), squares: BigInt(row.squares) })),
    buckets: buckets.rows,
    unusable: unusable.rows,
  };
}

/** Metrics that are judged by a percentile, each once. */
export function percentileMetrics(metrics: readonly GateMetric[]): string[] {
  return [...new Set(metrics.filter(({ scale }) => scale === 'p95').map(({ metric }) => metric))];
}
