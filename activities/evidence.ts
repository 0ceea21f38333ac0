import type { Logger } from 'pino';
import { SlipwayError } from '../domain/errors.ts';
import { planGate } from '../domain/gate/plan.ts';
import { judge } from '../domain/gate/verdict.ts';
import { duration } from '../domain/gate/wording.ts';
import type { GuardLook } from '../domain/guards.ts';
import type { Policy } from '../domain/policy/policy.ts';
import { isAboutErrors } from '../domain/release/failure-words.ts';
import { planWords, verdictWords } from '../domain/release/verdict-words.ts';
import {
  gateLookDue,
  heldBy,
  type WatchedGate,
  type WatchedGuards,
  watchedGate,
  watchedGuards,
  watching,
} from '../domain/release/watching.ts';
import { canaryFailures } from '../store/canary-failures.ts';
import type { Database } from '../store/database.ts';
import {
  findPlan,
  findVerdict,
  getPlan,
  lastLook,
  type StoredVerdict,
  saveLook,
  savePlan,
  saveVerdict,
  windowOf,
} from '../store/evidence.ts';
import { readBaseline } from '../store/gate-baseline.ts';
import { readFigures } from '../store/gate-data.ts';
import { ledgerLag } from '../store/gate-lag.ts';
import { getRelease, loadSpec, type ReleaseRow } from '../store/releases.ts';
import { findRoute } from '../store/routes.ts';
import type { ReleaseActivities, VerdictSummary } from './contract.ts';
import type { GuardSubject } from './guards.ts';
import { askedAt, finalErrors, notYet, now, watchedFor } from './watch.ts';

export interface EvidenceDependencies {
  db: Database;
  log: Logger;
  /** One look at the guards, now: activities/guards.ts over Prometheus. */
  measureGuards: (subject: GuardSubject) => Promise<GuardLook>;
}

/** What could not be measured at a horizon is asked again this soon, ms. */
const SOON = 10_000;

interface Subject {
  release: ReleaseRow;
  policy: Policy;
}

/** The evidence of a release: the plan of its gate, its looks and its verdicts. */
export function createEvidenceActivities({
  db,
  log,
  measureGuards,
}: EvidenceDependencies): Pick<ReleaseActivities, 'planGate' | 'watchGuards' | 'judgeCanary' | 'holdCanary'> {
  async function subjectOf(id: string): Promise<Subject> {
    const release = await getRelease(db, id);
    const { policy } = await loadSpec(db, release.spec);
    return { release, policy };
  }

  /** Measures the guards and keeps the look. */
  async function lookAtGuards({ release, policy }: Subject, at: number): Promise<WatchedGuards> {
    if (release.stable === null) throw new SlipwayError('INTERNAL', 'a canary needs a stable revision');
    const [measured, last, route] = await Promise.all([
      measureGuards({
        application: release.application,
        canary: release.candidate,
        stable: release.stable,
        policy: policy.canary,
      }),
      lastLook<WatchedGuards>(db, release.id, 'guards'),
      findRoute(db, release.application),
    ]);
    const guards = watchedGuards({
      readings: measured.readings,
      last: last && { at: last.at.getTime(), memory: last.look.memory },
      weight: route?.release === release.id ? route.weight : policy.canary.weight,
      policy: policy.canary,
      now: at,
    });
    await saveLook(db, release.id, { kind: 'guards', at: new Date(at), look: guards });
    return guards;
  }

  /** Looks at the ledger if a look is due, and keeps it. @returns the newest look; null before the first */
  async function lookAtLedger(
    { release, policy }: Subject,
    since: number,
    at: number,
  ): Promise<WatchedGate | null> {
    const last = await lastLook<WatchedGate>(db, release.id, 'gate');
    if (!gateLookDue(last?.at.getTime() ?? null, at, policy.gate.lookEvery)) return last?.look ?? null;
    const { plan } = await getPlan(db, release.id);
    const window = windowOf(release.id, policy, { from: since, to: at, seenAt: at });
    const { figures, watermark } = await readFigures(db, window, plan.policy.metrics);
    const seen = watchedGate(plan, figures, watermark, at);
    await saveLook(db, release.id, { kind: 'gate', at: new Date(at), look: seen });
    return seen;
  }

  async function judgeOnce(
    { release, policy }: Subject,
    horizon: number,
    since: number,
  ): Promise<StoredVerdict> {
    const { plan } = await getPlan(db, release.id);
    const after = plan.horizons[horizon]?.after;
    if (after === undefined) throw new SlipwayError('INTERNAL', `the plan has no horizon ${horizon}`);
    const due = since + Math.max(after, policy.canary.minDuration);
    if (now() < due) throw notYet(`the gate speaks in ${duration(due - now())}`, due - now());

    const subject = { release, policy };
    const held =
      heldBy(await lookAtGuards(subject, now())) ??
      (await ledgerLag(db, { release: release.id, policy, from: since, to: since + after, now: now() }));
    if (held !== null) throw holding(held, watchedFor(), policy, 'the gate could not be asked');
    const judgedAt = now();
    const window = windowOf(release.id, policy, { from: since, to: since + after, seenAt: judgedAt });
    const { figures, watermark } = await readFigures(db, window, plan.policy.metrics);
    const verdict = judge(plan, figures, horizon);
    return saveVerdict(db, {
      release: release.id,
      horizon,
      watermark,
      judgedAt: new Date(judgedAt),
      verdict,
    });
  }

  return {
    planGate: ({ progress }) =>
      finalErrors(async () => {
        const subject = await subjectOf(progress.release);
        const { plan } = (await findPlan(db, progress.release)) ?? (await makePlan(db, subject));
        return { passed: plan.refusal === null, summary: planWords(plan) };
      }),

    watchGuards: ({ progress, canarySince }) =>
      finalErrors(async () => {
        const subject = await subjectOf(progress.release);
        const at = now();
        const guards = await lookAtGuards(subject, at);
        const gate = await lookAtLedger(subject, canarySince, at);
        const seen = watching({ guards, gate, policy: subject.policy, since: canarySince, now: at });
        if (seen.kind === 'not-yet') throw notYet(seen.words, seen.retryIn);
        const { id: release, application } = subject.release;
        const failures = isAboutErrors({ guards, gate }) ? await canaryFailures(db, release, gate) : '';
        const breach = `${seen.words}${failures}`;
        log.warn({ release, application, stage: progress.stage, breach }, 'a guard stops the canary');
        return breach;
      }),

    judgeCanary: ({ progress, horizon, canarySince }) =>
      finalErrors(async (): Promise<VerdictSummary> => {
        const subject = await subjectOf(progress.release);
        const { verdict, digest } =
          (await findVerdict(db, progress.release, horizon)) ??
          (await judgeOnce(subject, horizon, canarySince));
        const { plan } = await getPlan(db, progress.release);
        const summary = verdictWords(plan, verdict);
        const { id: release, application } = subject.release;
        log.info(
          { release, application, stage: progress.stage, horizon, evidence: digest, summary },
          'verdict',
        );
        return { decision: verdict.decision, evidence: digest, summary };
      }),

    holdCanary: ({ progress, until }) =>
      finalErrors(async () => {
        const left = until - now();
        if (left > 0) throw notYet(`goes on in ${duration(left)}, if the guards can be measured then`, left);
        const subject = await subjectOf(progress.release);
        const held = heldBy(await lookAtGuards(subject, now()));
        const heldFor = now() - Math.max(until, askedAt());
        if (held !== null) throw holding(held, heldFor, subject.policy, 'the release could not go on');
      }),
  };
}

/** Nothing advances on what could not be measured: it is asked again soon, and fails closed at the maximum age (invariant 4). */
function holding(why: string, heldFor: number, { canary, gate }: Policy, what: string): Error {
  if (heldFor < canary.maxAge) return notYet(`holding: ${why}`, Math.min(gate.lookEvery, SOON));
  return new SlipwayError('NOT_MEASURABLE', `${what} for ${duration(heldFor)}: ${why}`, {
    remedy: 'Repair the measurement and start the release again',
  });
}

async function makePlan(db: Database, { release, policy }: Subject) {
  const gate = { ...policy.gate, weight: policy.canary.weight };
  const baseline = await readBaseline(db, { application: release.application, gate, now: now() });
  return savePlan(db, release.id, planGate(gate, baseline));
}
