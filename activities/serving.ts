import { setTimeout as delay } from 'node:timers/promises';
import { activityInfo, cancellationSignal, heartbeat } from '@temporalio/activity';
import type { Logger } from 'pino';
import type { Prometheus } from '../adapters/prometheus/prometheus.ts';
import type { ServingAdapter, ServingObservation } from '../adapters/serving/adapter.ts';
import { readEngine } from '../adapters/vllm/engine.ts';
import { counted } from '../domain/counted.ts';
import { errorForLog } from '../domain/error-for-log.ts';
import { SlipwayError } from '../domain/errors.ts';
import { nextRestart } from '../domain/serving/restarts.ts';
import { servingName } from '../domain/serving/serving.ts';
import type { Database, Queryable } from '../store/database.ts';
import { getRelease, loadSpec } from '../store/releases.ts';
import { acknowledgementOf, publishEndpoints, readGeneration } from '../store/routes.ts';
import {
  askForWeight,
  findServing,
  getServing,
  noteRestart,
  restartsOf,
  routedServings,
  type ServingRow,
  setReplicas,
  usesOfServing,
  withdrawUnneeded,
  withServingLock,
} from '../store/servings.ts';
import type { ReleaseActivities, Step } from './contract.ts';
import { refuseSmallEngines } from './engines.ts';
import { applyWhole, floorNow, raiseToFloor, refuseIfWithdrawn, scale } from './scaling.ts';
import { finalErrors, isFirstAttempt, notYet, now, passingErrors, watchedFor } from './watch.ts';

/** How soon a watch of a serving looks again, in ms. */
const LOOK_AGAIN_MS = 1_000;

/** How long one attempt follows a serving's changes before it says "not yet"; each one is told in its heartbeat. */
const FOLLOW_MS = 5_000;

/** Requests that a serving still holds so long, in ms, after the last gateway has let go of it are given up. */
const DRAIN_MS = 120_000;

const HEARTBEAT_MS = 5_000;

/** How long a serving with a route waits for its turn and its lock when it is looked after, and the others for it, in ms. */
const KEEP_MS = 5_000;

export interface ServingDeps {
  db: Database;
  adapter: ServingAdapter;
  /** Knows what the GPUs' driver says, where it is scraped. */
  prometheus?: Prometheus | undefined;
  log: Logger;
}

type ServingStep = Step & { serving: string };

/** Effects on servings. */
export function createServingActivities(
  deps: ServingDeps,
): Pick<ReleaseActivities, 'provideServing' | 'removeServing'> {
  const { db, adapter, log } = deps;
  return {
    /**
     * The first attempt applies, and so does a later one that finds nothing begun; the others look. So a serving that fails is not started
     * afresh, not even between a look and an apply, and its failure is told. Its row is in the store since the release was registered.
     * It gets the replicas for the users that the release sends there first: those of the canary, or all of them in a first release.
     */
    async provideServing({ progress: { release }, serving: digest }: ServingStep): Promise<void> {
      const context = { release, serving: servingName(digest) };
      const { readyWithin, firstWeight } = await termsOf(db, release);
      await askForWeight(db, release, firstWeight, null);
      const left = readyWithin - watchedFor();
      const over = AbortSignal.any([
        cancellationSignal(),
        AbortSignal.timeout(Math.max(0, Math.min(FOLLOW_MS, left))),
      ]);
      let first = isFirstAttempt();
      const look = (): Promise<ServingObservation> =>
        withServingLock(db, digest, async (tx) => {
          await refuseIfWithdrawn(tx, release);
          const before = await adapter.observe(digest);
          const begun = !first && before.state !== 'absent' && before.state !== 'stopping';
          first = false;
          if (!begun) await applyWhole(adapter, await sizedAtFirst(deps, tx, digest), before);
          const after = begun ? before : await adapter.observe(digest);
          if (after.state === 'ready') await publishEndpoints(db, digest, after.endpoints);
          return after;
        });
      await alive(async (tell) => {
        for (;;) {
          const seen = await look();
          tell(seen.message);
          if (seen.state === 'ready') {
            await refuseSmallEngines(await getServing(db, digest), seen.endpoints, deps.prometheus);
            log.info({ ...context, replicas: seen.ready }, 'serving ready');
            return;
          }
          if (seen.state === 'failed') throw servingFailed(seen, seen.message);
          if (left <= 0) {
            throw servingFailed(
              seen,
              `not ready within ${Math.round(readyWithin / 1000)} s: ${seen.message}`,
            );
          }
          if (over.aborted) throw notYet(seen.message, Math.min(LOOK_AGAIN_MS, left));
          await adapter.changed(digest, over);
        }
      });
    },

    async removeServing({ progress: { release }, serving: digest }: ServingStep): Promise<void> {
      const context = { release, serving: servingName(digest) };
      const { usedBy } = await removeUnneeded({ db, adapter }, digest, release);
      if (usedBy.length > 0) log.info({ ...context, usedBy }, 'serving kept');
      else log.info(context, 'serving removed');
    },
  };
}

/**
 * Removes a serving that nobody needs. One that a route or an active release other than `except` needs stays, which is no error: its last
 * user removes it. Else its endpoints are withdrawn, every live gateway acknowledges that, its requests come to their end, and it goes
 * (invariants 2 and 5). Runs in an activity; throws "not yet" until it is gone.
 * @returns who needs it; nobody: it is gone
 */
export async function removeUnneeded(
  { db, adapter }: Pick<ServingDeps, 'db' | 'adapter'>,
  digest: string,
  except: string | null,
): Promise<{ usedBy: string[] }> {
  const remove = (tell: (progress: Draining) => void) =>
    withServingLock(db, digest, async () => {
      const { applications, releases } = await withdrawUnneeded(db, digest, except);
      const usedBy = [...applications, ...releases];
      if (usedBy.length > 0) return { usedBy, waitFor: null };
      const waitFor = (await laggards(db)) ?? (await requestsInFlight(adapter, digest, drainingSince(tell)));
      if (waitFor === null) await adapter.remove(digest);
      return { usedBy, waitFor };
    });
  // A role that lacks a verb must not end a release in the middle of its removal: it waits until somebody mends the role.
  const { usedBy, waitFor } = await alive(remove, passingErrors);
  if (usedBy.length > 0) return { usedBy };
  if (waitFor !== null) throw notYet(waitFor, LOOK_AGAIN_MS);
  const left = await adapter.observe(digest);
  if (left.state !== 'absent') throw notYet(left.message, LOOK_AGAIN_MS);
  return { usedBy };
}

/**
 * Keeps what routes point to running and the gateways told where: call it when a worker starts and every second or so. Replicas that
 * ended come back, also after a restart of the machine, only endpoints that answer are published, and each serving gets the replicas that
 * its users and its load need. One that hangs or fails does not keep the others from it.
 * @param inHand servings that an earlier call still looks after: this one leaves them out
 * @returns when its servings are looked after; for one that hangs it waits only so long
 */
export async function keepServings(deps: ServingDeps, inHand = new Set<string>()): Promise<void> {
  const waiting = (await routedServings(deps.db)).values();
  const look = async (digest: string): Promise<void> => {
    inHand.add(digest);
    try {
      await keepServing(deps, digest);
    } catch (error) {
      const context = { serving: servingName(digest), ...errorForLog(error) };
      deps.log.warn(context, 'a serving with a route could not be looked after');
    } finally {
      inHand.delete(digest);
    }
  };
  // Not all at once: releases take turns at the same locks.
  const lane = async (): Promise<void> => {
    for (const { digest } of waiting) {
      if (inHand.has(digest)) continue;
      const patience = new AbortController();
      const { signal } = patience;
      await Promise.race([look(digest), delay(KEEP_MS, undefined, { signal }).catch(() => {})]);
      patience.abort();
    }
  };
  await Promise.all([lane(), lane()]);
}

async function keepServing(deps: ServingDeps, digest: string): Promise<void> {
  const { db, adapter } = deps;
  await withServingLock(
    db,
    digest,
    async (tx) => {
      // Asked again under the lock: whoever removes a serving holds it too.
      const { applications } = await usesOfServing(tx, digest, null);
      const serving = await findServing(tx, digest);
      if (applications.length === 0 || serving === null) return;
      let seen = await adapter.observe(digest);
      if (seen.state === 'absent' || seen.state === 'failed') seen = await startAgain(deps, serving, seen);
      // On its way out, or begun and never finished: as soon as the old is gone, apply makes it anew.
      if (seen.state === 'stopping') await applyWhole(adapter, serving, seen);
      const endpoints = seen.state === 'stopping' ? seen.endpoints : await scale(deps, serving, seen);
      await publishEndpoints(db, digest, endpoints);
    },
    KEEP_MS,
  );
}

/** With a growing pause: what fails over and over would only take the machine's time. */
async function startAgain(
  { db, adapter, log }: ServingDeps,
  serving: ServingRow,
  seen: ServingObservation,
): Promise<ServingObservation> {
  const count = nextRestart(await restartsOf(db, serving.digest));
  if (count === null) return seen;
  log.warn({ serving: seen.name, state: seen.state, count }, 'a serving with a route is started again');
  await noteRestart(db, serving.digest, count);
  await applyWhole(adapter, serving, seen);
  return adapter.observe(serving.digest);
}

/** What others use keeps the replicas that it has; what nobody uses gets what the release needs, whatever it had in an earlier life. */
async function sizedAtFirst(deps: ServingDeps, tx: Queryable, digest: string): Promise<ServingRow> {
  const serving = await getServing(tx, digest);
  const { applications } = await usesOfServing(tx, digest, null);
  if (applications.length > 0) return raiseToFloor(deps, serving);
  const replicas = await floorNow(tx, serving);
  if (replicas !== serving.replicas) await setReplicas(deps.db, digest, replicas);
  return { ...serving, replicas };
}

/**
 * Heartbeats while the work goes on: ending replicas can take longer than a dead worker may go unnoticed. What the work tells stands in
 * the heartbeat's details, where the Temporal UI shows it on the pending activity.
 */
async function alive<T, Progress = string>(
  work: (tell: (progress: Progress) => void) => Promise<T>,
  errors: typeof finalErrors = finalErrors,
): Promise<T> {
  let last: unknown = activityInfo().heartbeatDetails;
  const beat = (): void => heartbeat(last);
  const timer = setInterval(beat, HEARTBEAT_MS);
  try {
    return await errors(() =>
      work((progress) => {
        last = progress;
        beat();
      }),
    );
  } finally {
    clearInterval(timer);
  }
}

/** Which gateways may still send requests by an older table; null: none. */
async function laggards(db: Database): Promise<string | null> {
  const { lagging, lingering } = await acknowledgementOf(db, await readGeneration(db));
  if (lagging.length > 0) return `waiting for gateways to let go of it: ${lagging.join(', ')}`;
  if (lingering.length > 0)
    return `waiting until silent gateways serve the stable arm only: ${lingering.join(', ')}`;
  return null;
}

/** What a removal tells in its heartbeat. */
interface Draining {
  /** When every gateway had let go of the serving, ms of the server's clock. */
  drainingSince: number;
}

/** The heartbeat carries it to the later attempts: the time that slow gateways took is none in which requests could end. */
function drainingSince(tell: (progress: Draining) => void): number {
  const told = activityInfo().heartbeatDetails as Partial<Draining> | null | undefined;
  const since = told?.drainingSince ?? now();
  tell({ drainingSince: since });
  return since;
}

/** A replica that does not say how many it has is not waited for. */
async function requestsInFlight(
  adapter: ServingAdapter,
  digest: string,
  since: number,
): Promise<string | null> {
  if (now() - since > DRAIN_MS) return null;
  const { endpoints } = await adapter.observe(digest);
  const engines = await Promise.all(endpoints.map((endpoint) => readEngine(endpoint)));
  const requests = engines.reduce((sum, engine) => sum + (engine?.inFlight ?? 0), 0);
  return requests > 0 ? `waiting for ${counted(requests, 'request')} in flight` : null;
}

async function termsOf(
  db: Queryable,
  release: string,
): Promise<{ readyWithin: number; firstWeight: number }> {
  const { spec, stable } = await getRelease(db, release);
  const { policy } = await loadSpec(db, spec);
  return {
    readyWithin: policy.serving.readyWithin,
    firstWeight: stable === null ? 1 : policy.canary.weight,
  };
}

/** Why a serving does not carry what it is to carry, as an error that ends the release. */
export function servingFailed(seen: ServingObservation, message: string): SlipwayError {
  return new SlipwayError('SERVING_FAILED', `${seen.name}: ${message}`, {
    field: 'serving',
    value: seen.name,
    remedy: seen.remedy ?? 'Read its log, correct model, flags or capacity, and start the release again',
  });
}
