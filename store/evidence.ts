import { canonicalJson, digestOf } from '../domain/digest.ts';
import { SlipwayError } from '../domain/errors.ts';
import { evidenceDigest, verdictText } from '../domain/gate/evidence.ts';
import type { GatePlan, Verdict } from '../domain/gate/types.ts';
import { judge } from '../domain/gate/verdict.ts';
import type { Policy } from '../domain/policy/policy.ts';
import type { Database, Queryable } from './database.ts';
import { figuresFromSamples } from './gate-samples.ts';
import type { GateWindow } from './gate-totals.ts';
import { getRelease, loadSpec } from './releases.ts';

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
  verdict: Verdict;
}

/** Stores the verdict of a horizon; the first one stays. @returns the one that is stored */
export async function saveVerdict(
  db: Queryable,
  { release, horizon, watermark, verdict }: Omit<StoredVerdict, 'digest'>,
): Promise<StoredVerdict> {
  await db.query(
    `insert into evidence (digest, release, horizon, watermark, verdict) values ($1, $2, $3, $4, $5)
     on conflict (release, horizon) do nothing`,
    [evidenceDigest(verdict), release, horizon, watermark, verdictText(verdict)],
  );
  const stored = await findVerdict(db, release, horizon);
  if (stored === null)
    throw new SlipwayError('INTERNAL', 'the evidence lost a verdict that it has just written');
  return stored;
}

type VerdictRow = Omit<StoredVerdict, 'verdict'> & { verdict: string };

function storedVerdict(row: VerdictRow): StoredVerdict {
  return { ...row, verdict: JSON.parse(row.verdict) as Verdict };
}

async function verdictRows(db: Queryable, release: string): Promise<VerdictRow[]> {
  const { rows } = await db.query<VerdictRow>(
    'select release, horizon, digest, watermark, verdict from evidence where release = $1 order by horizon',
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

// ---- verification --------------------------------------------------------------------------------------------------------------------

/** What a look at `to`, or a verdict at the horizon `to`, is about. Times are ms since 1970. */
export function windowOf(
  release: string,
  policy: Pick<Policy, 'canary' | 'gate' | 'promotion'>,
  from: number,
  to: number,
): GateWindow {
  const weights = [policy.canary.weight, ...policy.promotion.steps];
  return { release, from, to, stratum: policy.gate.stratum, phases: weights.map((weight) => ({ weight })) };
}

export interface VerifiedVerdict {
  horizon: number;
  digest: string;
  watermark: number;
  decision: Verdict['decision'];
}

/**
 * Recomputes every verdict of a release from the raw samples up to its watermark, with its stored plan, and compares it byte for byte with
 * what is stored (invariant 8).
 * @throws SlipwayError EVIDENCE_MISMATCH at the first difference, its path in `field`; NOT_FOUND without a plan or a verdict
 */
export async function verifyEvidence(db: Database, release: string): Promise<VerifiedVerdict[]> {
  const row = await getRelease(db, release);
  const { policy } = await loadSpec(db, row.spec);
  const { plan, digest } = await getPlan(db, release);
  compare('plan digest', digest, digestOf(plan));
  const verdicts = await verdictRows(db, release);
  if (verdicts.length === 0 || row.canarySince === null) {
    throw new SlipwayError('NOT_FOUND', `release ${release} has no verdict yet`, {
      field: 'release',
      value: release,
      remedy: 'The gate speaks at the horizons of the plan',
    });
  }
  const from = row.canarySince.getTime();
  const verified: VerifiedVerdict[] = [];
  for (const stored of verdicts) {
    const { horizon, watermark } = stored;
    const after = plan.horizons[horizon]?.after ?? Number.NaN;
    const window = windowOf(release, policy, from, from + after);
    const figures = await figuresFromSamples(db, window, plan.policy.metrics, watermark);
    const again = judge(plan, figures, horizon);
    const path = `verdicts[${horizon}]`;
    if (verdictText(again) !== stored.verdict)
      compare(path, JSON.parse(stored.verdict), JSON.parse(verdictText(again)));
    compare(`${path} text`, stored.verdict, verdictText(again));
    compare(`${path} digest`, stored.digest, evidenceDigest(again));
    verified.push({ horizon, digest: stored.digest, watermark, decision: again.decision });
  }
  return verified;
}

/** @throws SlipwayError EVIDENCE_MISMATCH at the first difference */
function compare(path: string, recorded: unknown, recomputed: unknown): void {
  const difference = firstDifference(path, recorded, recomputed);
  if (difference === null) return;
  throw new SlipwayError(
    'EVIDENCE_MISMATCH',
    `${difference.path} is recorded as ${canonicalJson(difference.recorded)} and recomputes to ${canonicalJson(difference.recomputed)}`,
    {
      field: difference.path,
      value: difference.recorded,
      remedy: 'Do not trust this verdict: the samples, the plan or the evidence were changed after it',
    },
  );
}

interface Difference {
  path: string;
  recorded: unknown;
  recomputed: unknown;
}

export function firstDifference(path: string, recorded: unknown, recomputed: unknown): Difference | null {
  if (isRecord(recorded) && isRecord(recomputed)) {
    for (const key of [...new Set([...Object.keys(recorded), ...Object.keys(recomputed)])].sort()) {
      const member = Array.isArray(recorded) ? `${path}[${key}]` : `${path}.${key}`;
      const difference = firstDifference(member, recorded[key], recomputed[key]);
      if (difference !== null) return difference;
    }
    return null;
  }
  if (recorded === recomputed) return null;
  return { path, recorded: recorded ?? null, recomputed: recomputed ?? null };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
