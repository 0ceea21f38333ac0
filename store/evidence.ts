import { canonicalJson, digestOf } from '../domain/digest.ts';
import { SlipwayError } from '../domain/errors.ts';
import { evidenceDigest, verdictText } from '../domain/gate/evidence.ts';
import { CLOCK_TOLERANCE } from '../domain/gate/strata.ts';
import type { GatePlan, Verdict } from '../domain/gate/types.ts';
import type { Policy } from '../domain/policy/policy.ts';
import type { Queryable } from './database.ts';
import type { GateWindow } from './gate-totals.ts';

// ---- the plan ------------------------------------------------------------------------------------------------------------------------

export interface StoredPlan {
  digest: string;
  plan: GatePlan;
}

/** Stores the plan as canonical JSON; the first one stays. @returns the one that is stored */
export async function savePlan(db: Queryable, release: string, plan: GatePlan): Promise<StoredPlan> {
  await db.query(
    'insert into gate_plans (release, digest, plan) values ($1, $2, $3) on conflict (release) do nothing',
    [release, digestOf(plan), canonicalJson(plan)],
  );
  return getPlan(db, release);
}

export async function findPlan(db: Queryable, release: string): Promise<StoredPlan | null> {
  const { rows } = await db.query<{ digest: string; plan: string }>(
    'select digest, plan from gate_plans where release = $1',
    [release],
  );
  const row = rows[0];
  return row === undefined ? null : { digest: row.digest, plan: JSON.parse(row.plan) as GatePlan };
}

/** @throws SlipwayError NOT_FOUND */
export async function getPlan(db: Queryable, release: string): Promise<StoredPlan> {
  const stored = await findPlan(db, release);
  if (stored !== null) return stored;
  throw new SlipwayError('NOT_FOUND', `the gate of release ${release} has no plan`, {
    field: 'release',
    value: release,
    remedy: 'The plan is made just before the canary begins',
  });
}

// ---- looks ---------------------------------------------------------------------------------------------------------------------------

/** `guards`: Prometheus, measured now. `gate`: the ledger's statistics. */
export type LookKind = 'guards' | 'gate';

export interface StoredLook<L = unknown> {
  kind: LookKind;
  at: Date;
  look: L;
}

/** Keeps a look under its time; writing it again changes nothing. */
export async function saveLook(db: Queryable, release: string, look: StoredLook): Promise<void> {
  await db.query(
    'insert into looks (release, at, kind, look) values ($1, $2, $3, $4) on conflict do nothing',
    [release, look.at, look.kind, JSON.stringify(look.look)],
  );
}

/** The newest look of a kind; null before the first. The caller knows the shape of what it stored. */
export async function lastLook<L>(
  db: Queryable,
  release: string,
  kind: LookKind,
): Promise<StoredLook<L> | null> {
  const { rows } = await db.query<StoredLook<L>>(
    'select kind, at, look from looks where release = $1 and kind = $2 order by at desc limit 1',
    [release, kind],
  );
  return rows[0] ?? null;
}

export interface LookPage {
  looks: StoredLook[];
  /** Give it as `after` to read on; null at the end. */
  next: string | null;
}

/** The looks of a release, oldest first, `limit` (default 500) at a time. */
export async function listLooks(
  db: Queryable,
  release: string,
  {
    after,
    limit = 500,
    kind,
  }: { after?: string | undefined; limit?: number | undefined; kind?: LookKind | undefined } = {},
): Promise<LookPage> {
  const [at, afterKind] = cursorOf(after);
  const { rows } = await db.query<StoredLook>(
    `select kind, at, look from looks
      where release = $1 and (at, kind) > ($2, $3) and ($4::text is null or kind = $4) order by at, kind limit $5`,
    [release, at, afterKind, kind ?? null, limit],
  );
  const last = rows.at(-1);
  return {
    looks: rows,
    next: last !== undefined && rows.length === limit ? `${last.at.toISOString()}/${last.kind}` : null,
  };
}

function cursorOf(after: string | undefined): [at: Date | '-infinity', kind: string] {
  if (after === undefined) return ['-infinity', ''];
  const [at = '', kind = ''] = after.split('/');
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) {
    throw new SlipwayError('INPUT_INVALID', 'after is not a place in the list of looks', {
      field: 'after',
      value: after,
      remedy: 'Give the `next` of the page before, unchanged',
    });
  }
  return [date, kind];
}

// ---- verdicts ------------------------------------------------------------------------------------------------------------------------

export interface StoredVerdict {
  release: string;
  /** 0-based */
  horizon: number;
  /** Digest of the verdict, which a sign-off binds. */
  digest: string;
  /** The last batch of the ledger that the verdict saw. */
  watermark: number;
  /** When it was made: what is dated later tells of a wrong clock. */
  judgedAt: Date;
  verdict: Verdict;
}

/** Stores the verdict of a horizon; the first one stays. @returns the one that is stored */
export async function saveVerdict(
  db: Queryable,
  { release, horizon, watermark, judgedAt, verdict }: Omit<StoredVerdict, 'digest'>,
): Promise<StoredVerdict> {
  await db.query(
    `insert into evidence (digest, release, horizon, watermark, judged_at, verdict) values ($1, $2, $3, $4, $5, $6)
     on conflict (release, horizon) do nothing`,
    [evidenceDigest(verdict), release, horizon, watermark, judgedAt, verdictText(verdict)],
  );
  const stored = await findVerdict(db, release, horizon);
  if (stored === null)
    throw new SlipwayError('INTERNAL', 'the evidence lost a verdict that it has just written');
  return stored;
}

/** `verdict` is the text that was digested. */
export type VerdictRow = Omit<StoredVerdict, 'verdict'> & { verdict: string };

function storedVerdict(row: VerdictRow): StoredVerdict {
  return { ...row, verdict: JSON.parse(row.verdict) as Verdict };
}

/** In the order of the horizons. */
export async function verdictRows(db: Queryable, release: string): Promise<VerdictRow[]> {
  const { rows } = await db.query<VerdictRow>(
    `select release, horizon, digest, watermark, judged_at as "judgedAt", verdict
       from evidence where release = $1 order by horizon`,
    [release],
  );
  return rows;
}

export async function findVerdict(
  db: Queryable,
  release: string,
  horizon: number,
): Promise<StoredVerdict | null> {
  const row = (await verdictRows(db, release)).find((candidate) => candidate.horizon === horizon);
  return row === undefined ? null : storedVerdict(row);
}

/** In the order of the horizons. */
export async function listVerdicts(db: Queryable, release: string): Promise<StoredVerdict[]> {
  return (await verdictRows(db, release)).map(storedVerdict);
}

// ---- what they are about ---------------------------------------------------------------------------------------------------------------

/**
 * What a look or verdict at `seenAt` is about, of the traffic before `to` (for a look the same time, for a verdict its horizon). Times are ms
 * since 1970.
 */
export function windowOf(
  release: string,
  policy: Pick<Policy, 'canary' | 'gate' | 'promotion'>,
  { from, to, seenAt }: { from: number; to: number; seenAt: number },
): GateWindow {
  const phases = [policy.canary.weight, ...policy.promotion.steps].map((weight) => ({ weight }));
  const tolerance = seenAt - to + CLOCK_TOLERANCE;
  return { release, from, to, stratum: policy.gate.stratum, phases, tolerance };
}
