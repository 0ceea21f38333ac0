import type { Logger } from 'pino';
import type { Prometheus } from '../adapters/prometheus/prometheus.ts';
import type { ServingAdapter } from '../adapters/serving/adapter.ts';
import { isHealthy } from '../adapters/vllm/engine.ts';
import { shortDigest } from '../domain/digest.ts';
import { SlipwayError } from '../domain/errors.ts';
import { type ChecklistItem, checklistOf } from '../domain/preflight.ts';
import type { ReleaseSpec } from '../domain/release/spec.ts';
import type { Revision } from '../domain/revision.ts';
import { checkCapacity } from '../domain/serving/capacity.ts';
import { floorOf, floorProblem, maximumOf } from '../domain/serving/scaling.ts';
import type { Database } from '../store/database.ts';
import { getGoldenSet } from '../store/golden-sets.ts';
import { getGuardrails, listGuardrails } from '../store/guardrails.ts';
import { getPrompt } from '../store/prompts.ts';
import { appendEvent, getRelease, loadSpec } from '../store/releases.ts';
import { findRevision, getRevision } from '../store/revisions.ts';
import { findRoute } from '../store/routes.ts';
import { carriedBy, findServing, getServing } from '../store/servings.ts';
import type { CheckResult, ReleaseActivities } from './contract.ts';
import { cacheItem, type Measured, measureEngines, memoryItem } from './engines.ts';
import { finalErrors, notYet, now, watchedFor } from './watch.ts';

/** A stable serving that does not answer for so long, in ms, fails the checklist; before, it may be a passing fault. */
const HEALTH_PATIENCE_MS = 30_000;
const LOOK_AGAIN_MS = 2_000;

export interface PreflightDeps {
  db: Database;
  adapter: ServingAdapter;
  /** Knows what the GPUs' driver says, where it is scraped. */
  prometheus?: Prometheus | undefined;
  log: Logger;
}

/** What the checklist is about. */
interface Subject {
  spec: ReleaseSpec;
  candidate: Revision;
  /** Digest; null: a first release. */
  stable: string | null;
}

type Check = (deps: PreflightDeps, subject: Subject) => Promise<ChecklistItem>;

const checks: readonly Check[] = [
  promptRegistered,
  guardrailsExist,
  goldenSetExists,
  rollbackNamed,
  stableServingHealthy,
  cacheFits,
  gpuMemoryBounded,
  replicasAllowed,
];

/** The checklist before a release touches anything: every item is evaluated and told, not only the first that fails. */
export function createPreflightActivities(deps: PreflightDeps): Pick<ReleaseActivities, 'checkPreflight'> {
  const { db, log } = deps;
  return {
    checkPreflight: ({ progress: { release, stage } }) =>
      finalErrors(async (): Promise<CheckResult> => {
        const row = await getRelease(db, release);
        const subject: Subject = {
          spec: await loadSpec(db, row.spec),
          candidate: await getRevision(db, row.candidate),
          stable: row.stable,
        };
        const items: ChecklistItem[] = [];
        for (const check of checks) items.push(await check(deps, subject));
        items.push(...(await placeTakesIt(deps, subject)));
        const checklist = checklistOf(items);
        await appendEvent(db, {
          release,
          name: 'preflight',
          at: new Date(now()),
          actor: 'slipway',
          kind: 'preflight',
          details: { passed: checklist.passed, items },
        });
        log.info({ release, stage, passed: checklist.passed }, 'preflight checked');
        return { passed: checklist.passed, summary: checklist.summary };
      }),
  };
}

async function promptRegistered({ db }: PreflightDeps, { candidate }: Subject): Promise<ChecklistItem> {
  return itemOf('prompt registered', async () => {
    const prompt = await getPrompt(db, candidate.prompt);
    return prompt.digest === candidate.promptDigest
      ? { passed: true, message: candidate.prompt }
      : { passed: false, message: `${candidate.prompt} is not what the revision was made of` };
  });
}

async function guardrailsExist({ db }: PreflightDeps, { candidate }: Subject): Promise<ChecklistItem> {
  return itemOf('guardrail config named', async () => {
    const { name, version } = await getGuardrails(db, candidate.guardrails);
    const newest = (await listGuardrails(db, name))[0]?.version ?? version;
    const warning = newest > version ? `; warning: ${name}@${newest} is newer` : '';
    // Until the gateway checks them, whoever reads the checklist must not take a guard on violations for one that sees any.
    const unseen = 'not enforced yet, violations are not measured, a guard on them sees nothing';
    return { passed: true, message: `${candidate.guardrails}${warning}; ${unseen}` };
  });
}

async function goldenSetExists({ db }: PreflightDeps, { spec }: Subject): Promise<ChecklistItem> {
  return itemOf('golden set exists', async () => {
    await getGoldenSet(db, spec.policy.evaluation.goldenSet);
    return { passed: true, message: spec.policy.evaluation.goldenSet };
  });
}

/** The stable revision is where a rollback leads: it must be known and be what the route serves. */
async function rollbackNamed({ db }: PreflightDeps, { spec, stable }: Subject): Promise<ChecklistItem> {
  const item = 'rollback revision named';
  if (stable === null) return { item, passed: true, message: 'a first release has nothing to return to' };
  if (spec.rollback !== undefined && spec.rollback !== stable) {
    const remedy = `Name ${shortDigest(stable)}, or leave the field out`;
    return {
      item,
      passed: false,
      message: `${shortDigest(spec.rollback)} is not the stable revision`,
      remedy,
    };
  }
  const [revision, route] = await Promise.all([findRevision(db, stable), findRoute(db, spec.application)]);
  if (revision === null || route?.stable !== stable) {
    return {
      item,
      passed: false,
      message: `${shortDigest(stable)} is not what serves ${spec.application} now`,
      remedy: 'Start the release again, against the revision that serves now',
    };
  }
  return { item, passed: true, message: `${shortDigest(stable)} (${revision.prompt})` };
}

async function stableServingHealthy({ db }: PreflightDeps, { stable }: Subject): Promise<ChecklistItem> {
  const item = 'stable serving healthy';
  if (stable === null) return { item, passed: true, message: 'a first release has no stable serving' };
  const revision = await getRevision(db, stable);
  const endpoints = (await findServing(db, revision.serving))?.endpoints ?? [];
  const answers = await Promise.all(endpoints.map((endpoint) => isHealthy(endpoint)));
  const healthy = answers.filter(Boolean).length;
  const message = `${healthy} of ${endpoints.length} endpoints answer`;
  if (healthy > 0 && healthy === endpoints.length) return { item, passed: true, message };
  if (watchedFor() < HEALTH_PATIENCE_MS) throw notYet(`${item}: ${message}`, LOOK_AGAIN_MS);
  return {
    item,
    passed: false,
    message,
    remedy: 'Bring the stable serving back first: a canary is compared with it and returns to it',
  };
}

/** By vLLM's own figures where the candidate's serving runs already, else by the formula. */
async function cacheFits(deps: PreflightDeps, { candidate }: Subject): Promise<ChecklistItem> {
  const told = cacheItem(candidate.runtime, await measured(deps, candidate));
  if (told !== null) return told;
  return itemOf('KV cache fits', async () => {
    const verdict = checkCapacity(candidate.model, candidate.runtime);
    return {
      passed: verdict.fits,
      message: verdict.fits ? verdict.message : `CAPACITY_EXCEEDED: ${verdict.message}`,
      remedy: verdict.fits ? undefined : verdict.remedy,
    };
  });
}

async function gpuMemoryBounded(deps: PreflightDeps, { candidate }: Subject): Promise<ChecklistItem> {
  return itemOf('GPU memory', async () => memoryItem(candidate.runtime, await measured(deps, candidate)));
}

/** What all users of the application need once it is promoted, beside what other applications have on the same serving. */
async function replicasAllowed({ db }: PreflightDeps, { spec, candidate }: Subject): Promise<ChecklistItem> {
  const { application, policy } = spec;
  const others = (await carriedBy(db, candidate.serving)).filter((one) => one.application !== application);
  const carried = [...others, { application, stable: true, observed: 0, desired: 0 }];
  const { scaling } = policy.serving;
  return itemOf('replicas allowed', async () => {
    const problem = floorProblem(candidate.runtime, scaling, carried);
    if (problem !== null) {
      const message = `serving.scaling.${problem.field} ${problem.message}`;
      return { passed: false, message, remedy: problem.remedy };
    }
    const floor = floorOf(candidate.runtime, scaling, carried);
    return { passed: true, message: `${floor} of at most ${maximumOf(candidate.runtime, scaling)}` };
  });
}

/**
 * What the place where servings run says of the candidate's before it is made, for the replicas that the canary's users need. One that runs
 * already has passed.
 */
async function placeTakesIt({ db, adapter }: PreflightDeps, subject: Subject): Promise<ChecklistItem[]> {
  const { spec, candidate, stable } = subject;
  if (await isRunning(adapter, candidate.serving)) return [];
  const { application, policy } = spec;
  const others = (await carriedBy(db, candidate.serving)).filter((one) => one.application !== application);
  const canary = { application, stable: stable === null, observed: 0, desired: policy.canary.weight };
  const replicas = floorOf(candidate.runtime, policy.serving.scaling, [...others, canary]);
  return adapter.check(await getServing(db, candidate.serving), replicas);
}

/** Whoever may not look finds out what is missing in the checks. */
async function isRunning(adapter: ServingAdapter, serving: string): Promise<boolean> {
  try {
    const { state } = await adapter.observe(serving);
    return state === 'ready' || state === 'starting';
  } catch (error) {
    if (error instanceof SlipwayError && error.code === 'FORBIDDEN') return false;
    throw error;
  }
}

async function measured({ db, prometheus }: PreflightDeps, { serving }: Revision): Promise<Measured> {
  return measureEngines(serving, (await findServing(db, serving))?.endpoints ?? [], prometheus);
}

/** An error with a remedy, e.g. of something that does not exist, is a failed item; any other is the activity's to retry. */
async function itemOf(
  item: string,
  look: () => Promise<Omit<ChecklistItem, 'item'>>,
): Promise<ChecklistItem> {
  try {
    return { item, ...(await look()) };
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return { item, passed: false, message: `${error.code}: ${error.message}`, remedy: error.details.remedy };
  }
}
