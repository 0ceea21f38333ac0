import { canonicalJson, digestOf } from '../domain/digest.ts';
import { SlipwayError } from '../domain/errors.ts';
import { evidenceDigest, verdictText } from '../domain/gate/evidence.ts';
import type { GatePlan, Verdict } from '../domain/gate/types.ts';
import { judge } from '../domain/gate/verdict.ts';
import type { Policy } from '../domain/policy/policy.ts';
import { FAILURES } from '../domain/release/failure-words.ts';
import {
  type GuardMemory,
  guardsAgain,
  type WatchedGate,
  type WatchedGuards,
  watchedGate,
  watching,
} from '../domain/release/watching.ts';
import { canaryFailures } from './canary-failures.ts';
import type { Database } from './database.ts';
import { getPlan, listLooks, type StoredLook, verdictRows, windowOf } from './evidence.ts';
import { figuresFromSamples } from './gate-samples.ts';
import { getRelease, loadSpec } from './releases.ts';

/**
 * Everything that a release was decided by, made once more (invariant 8): verdicts and looks of the ledger from the raw samples up to their
 * watermarks, looks of the guards from the measurements that they were read from.
 */
export interface Verification {
  release: string;
  /** Digest of the plan, which every verdict and look names. */
  plan: string;
  verdicts: VerifiedVerdict[];
  looks: {
    /** Each look of the guards is made again: `recomputed` of `kept`; fewer only if some were kept without their measurements. */
    guards: Tally;
    /** Looks of the ledger: each that saw harm, and as many others as were asked for. */
    gate: Tally;
  };
  /** Why the release ended, as it says; null: it goes on, or was promoted. */
  reason: string | null;
  /** The look that gave this reason; null: it was none. */
  stop: Stop | null;
}

export interface VerifiedVerdict {
  horizon: number;
  digest: string;
  watermark: number;
  decision: Verdict['decision'];
}

export interface Tally {
  kept: number;
  recomputed: number;
}

export interface Stop {
  at: Date;
  /** The reason that the release ended with, recomputed to the letter. */
  reason: string;
  /** `samples`: the ledger's statistics. `measurements`: Prometheus. `silence`: nothing could be measured for too long. */
  from: 'samples' | 'measurements' | 'silence';
  /** Of the ledger; null if the samples did not decide. */
  watermark: number | null;
  /** Of the look as canonical JSON. */
  digest: string;
}

interface Subject {
  release: string;
  policy: Policy;
  plan: GatePlan;
  /** When the canary began, ms since 1970. */
  from: number;
}

/**
 * Makes the evidence of a release again and compares it byte for byte with what is stored.
 * @param others so many looks of the ledger that saw no harm, spread evenly over the time; each reads all samples up to it
 * @param signal ends it, before the next verdict or look, with its reason
 * @throws SlipwayError EVIDENCE_MISMATCH at the first difference, its path in `field`; NOT_FOUND if nothing was judged or looked at
 */
export async function verifyEvidence(
  db: Database,
  id: string,
  others = 0,
  signal?: AbortSignal,
): Promise<Verification> {
  const row = await getRelease(db, id);
  const { policy } = await loadSpec(db, row.spec);
  const { plan, digest } = await getPlan(db, id);
  compare('plan digest', digest, digestOf(plan));
  if (row.canarySince === null) throw nothingYet(id);
  const subject: Subject = { release: id, policy, plan, from: row.canarySince.getTime() };
  const verdicts = await verdictsAgain(db, subject, signal);
  const looks = guardsVerified(await allLooks(db, id), subject, row.reason);
  if (verdicts.length === 0 && looks.guards.kept + looks.gates.length === 0) throw nothingYet(id);
  const stop = await stoppingLook(db, id, looks.stops);
  const chosen = chosenOf(looks.gates, stop?.gate ?? null, others);
  for (const look of chosen) {
    signal?.throwIfAborted();
    await gateAgain(db, subject, look);
  }
  return {
    release: id,
    plan: digest,
    verdicts,
    looks: { guards: looks.guards, gate: { kept: looks.gates.length, recomputed: chosen.length } },
    reason: row.reason,
    stop: stop && stopOf(stop),
  };
}

function nothingYet(release: string): SlipwayError {
  return new SlipwayError('NOT_FOUND', `release ${release} has neither a verdict nor a look yet`, {
    field: 'release',
    value: release,
    remedy: 'Guards look when the canary has begun; the gate speaks at the horizons of the plan',
  });
}

async function verdictsAgain(
  db: Database,
  { release, policy, plan, from }: Subject,
  signal: AbortSignal | undefined,
): Promise<VerifiedVerdict[]> {
  const verified: VerifiedVerdict[] = [];
  for (const stored of await verdictRows(db, release)) {
    signal?.throwIfAborted();
    const { horizon, watermark, judgedAt } = stored;
    const after = plan.horizons[horizon]?.after ?? Number.NaN;
    const window = windowOf(release, policy, { from, to: from + after, seenAt: judgedAt.getTime() });
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

/** A kept look of the ledger. */
interface GateLook {
  at: Date;
  look: WatchedGate;
}

/** A look that may have stopped the release: its words are the reason, or the reason goes on with why requests failed. */
interface Found {
  at: Date;
  reason: string;
  words: string;
  guards: WatchedGuards;
  /** The newest look of the ledger at that time. */
  gate: GateLook | null;
}

/** Makes every look of the guards again, and what the watch made of it; finds the one that the release ended with. */
function guardsVerified(
  looks: readonly StoredLook[],
  { policy, from }: Subject,
  reason: string | null,
): { guards: Tally; gates: GateLook[]; stops: Found[] } {
  const guards: Tally = { kept: 0, recomputed: 0 };
  const gates: GateLook[] = [];
  const memories = new Map<number, GuardMemory>();
  for (const { kind, at, look } of looks)
    if (kind === 'guards') memories.set(at.getTime(), (look as WatchedGuards).memory);
  const stops: Found[] = [];
  for (const { kind, at, look } of looks) {
    if (kind === 'gate') {
      gates.push({ at, look: look as WatchedGate });
      continue;
    }
    const kept = look as WatchedGuards;
    const now = at.getTime();
    guards.kept += 1;
    // Looks that were kept before their inputs were say nothing to make them from.
    if (kept.after !== undefined) {
      const memory = kept.after === null ? undefined : memories.get(kept.after);
      const last = memory && kept.after !== null ? { at: kept.after, memory } : null;
      compare(
        `looks[${at.toISOString()}].guards`,
        kept,
        guardsAgain(kept, { last, policy: policy.canary, now }),
      );
      guards.recomputed += 1;
    }
    const gate = gates.at(-1) ?? null;
    const seen = watching({ guards: kept, gate: gate?.look ?? null, policy, since: from, now });
    if (seen.kind !== 'breach' || reason === null) continue;
    const { words } = seen;
    if (reason === words || reason.startsWith(`${words}${FAILURES}`))
      stops.push({ at, reason, words, guards: kept, gate });
  }
  return { guards, gates, stops };
}

/** The first look that gives the reason to the letter: a watch whose worker died looks again, and what it says may have grown. */
async function stoppingLook(db: Database, release: string, stops: readonly Found[]): Promise<Found | null> {
  let again: string | null = null;
  for (const stop of stops) {
    if (stop.words === stop.reason) return stop;
    again = `${stop.words}${await canaryFailures(db, release, stop.gate?.look ?? null)}`;
    if (again === stop.reason) return stop;
  }
  if (again !== null) compare('reason', stops.at(-1)?.reason, again);
  return null;
}

async function allLooks(db: Database, release: string): Promise<StoredLook[]> {
  const looks: StoredLook[] = [];
  let after: string | undefined;
  do {
    const page = await listLooks(db, release, { after, limit: 5000 });
    looks.push(...page.looks);
    after = page.next ?? undefined;
  } while (after !== undefined);
  return looks;
}

/** Those that saw harm or stopped the release, and so many of the others. */
function chosenOf(gates: readonly GateLook[], stopping: GateLook | null, others: number): GateLook[] {
  const complete = gates.filter(({ look }) => look.watermark !== undefined);
  const always = complete.filter((gate) => gate.look.harm || gate === stopping);
  const rest = complete.filter((gate) => !always.includes(gate));
  const count = Math.min(others, rest.length);
  const spread = Array.from(
    { length: count },
    (_, index) => rest[Math.round(((index + 1) * rest.length) / count) - 1],
  );
  return [...always, ...spread.filter((gate) => gate !== undefined)];
}

async function gateAgain(
  db: Database,
  { release, policy, plan, from }: Subject,
  { at, look }: GateLook,
): Promise<void> {
  const window = windowOf(release, policy, { from, to: at.getTime(), seenAt: at.getTime() });
  const figures = await figuresFromSamples(db, window, plan.policy.metrics, look.watermark);
  compare(`looks[${at.toISOString()}].gate`, look, watchedGate(plan, figures, look.watermark, at.getTime()));
}

function stopOf({ at, reason, guards, gate }: Found): Stop {
  if (guards.state === 'failed') {
    return { at, reason, from: 'measurements', watermark: null, digest: digestOf(guards) };
  }
  if (gate?.look.harm) {
    return {
      at,
      reason,
      from: 'samples',
      watermark: gate.look.watermark ?? null,
      digest: digestOf(gate.look),
    };
  }
  return { at, reason, from: 'silence', watermark: null, digest: digestOf(guards) };
}

/** @throws SlipwayError EVIDENCE_MISMATCH at the first difference */
function compare(path: string, recorded: unknown, recomputed: unknown): void {
  if (canonicalJson(recorded) === canonicalJson(recomputed)) return;
  const difference = firstDifference(path, recorded, recomputed);
  if (difference === null) return;
  throw new SlipwayError(
    'EVIDENCE_MISMATCH',
    `${difference.path} is recorded as ${canonicalJson(difference.recorded)} and recomputes to ${canonicalJson(difference.recomputed)}`,
    {
      field: difference.path,
      value: difference.recorded,
      remedy: 'Do not trust this evidence: the samples, the plan or the evidence were changed after it',
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
