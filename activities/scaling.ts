import type { Logger } from 'pino';
import type { ServingAdapter, ServingObservation } from '../adapters/serving/adapter.ts';
import { readEngine } from '../adapters/vllm/engine.ts';
import { SlipwayError } from '../domain/errors.ts';
import {
  floorOf,
  isLow,
  maximumOf,
  replicaCost,
  replicasFor,
  smoothedLoad,
  utilisationOf,
} from '../domain/serving/scaling.ts';
import { servingName } from '../domain/serving/serving.ts';
import type { Database, Queryable } from '../store/database.ts';
import { getRelease } from '../store/releases.ts';
import { acknowledgementOf, publishEndpoints, readGeneration } from '../store/routes.ts';
import {
  carriedBy,
  getServing,
  notedLoad,
  noteLoad,
  noteUtilisation,
  type ServingRow,
  setReplicas,
  withServingLock,
} from '../store/servings.ts';

export interface ScalingDeps {
  db: Database;
  adapter: ServingAdapter;
  log: Logger;
}

/** Replicas that the serving's users need now, by every route and every active release. */
export async function floorNow(db: Queryable, serving: ServingRow): Promise<number> {
  return floorOf(serving.runtime, serving.scaling, await carriedBy(db, serving.digest));
}

/**
 * Lets the serving have the replicas that its users need, and more while it has more. The caller holds its lock.
 * @returns the serving as it is to be
 */
export async function raiseToFloor({ db, log }: ScalingDeps, serving: ServingRow): Promise<ServingRow> {
  const floor = await floorNow(db, serving);
  if (floor <= serving.replicas) return serving;
  await setReplicas(db, serving.digest, floor);
  logSize(log, serving, floor, 'its users need more replicas');
  return { ...serving, replicas: floor };
}

/**
 * One look at whether the serving has the replicas ready that its users need, with those whom a release is about to send; asks for them
 * when they are not there, and lets the gateways know of those that are.
 * @throws SlipwayError SERVING_FAILED when the release has begun to roll back
 * @returns null: it has; else what it looks like
 */
export async function sizedForUsers(
  deps: ScalingDeps,
  release: string,
  digest: string,
): Promise<ServingObservation | null> {
  const { db, adapter } = deps;
  return withServingLock(db, digest, async (tx) => {
    await refuseIfWithdrawn(tx, release);
    const before = await getServing(tx, digest);
    const serving = await raiseToFloor(deps, before);
    let seen = await adapter.observe(digest);
    if (serving !== before || isSmaller(seen, serving)) {
      await applyWhole(adapter, serving, seen);
      seen = await adapter.observe(digest);
    }
    await publishEndpoints(db, digest, seen.endpoints);
    return seen.ready >= (await floorNow(tx, serving)) ? null : seen;
  });
}

/**
 * Decides by the engines' own figures how many replicas a routed serving is to have, and makes it so. The caller holds its lock.
 * @returns the endpoints that the gateways may use
 */
export async function scale(
  deps: ScalingDeps,
  serving: ServingRow,
  observed: ServingObservation,
): Promise<string[]> {
  const { adapter } = deps;
  const wanted = await resize(deps, serving, observed);
  if (isSmaller(observed, wanted)) {
    await adapter.apply(wanted);
    return (await adapter.observe(serving.digest)).endpoints;
  }
  const surplus = wanted.scaling.by === 'slipway' && observed.wanted > wanted.replicas;
  if (!surplus) return observed.endpoints;
  if (!adapter.endsTheLast) {
    await adapter.apply(wanted);
    return observed.endpoints;
  }
  return withdrawSurplus(deps, wanted, observed);
}

async function resize(
  { db, adapter, log }: ScalingDeps,
  serving: ServingRow,
  observed: ServingObservation,
): Promise<ServingRow> {
  const { digest, runtime, scaling } = serving;
  const floor = await floorNow(db, serving);
  const maximum = maximumOf(runtime, scaling);
  const { load, lowFor } =
    scaling.by === 'slipway' ? await loadOf(db, serving, observed) : { load: 0, lowFor: 0 };
  const replicas = replicasFor({ replicas: serving.replicas, floor, maximum, load, lowFor }, scaling);
  if (replicas === serving.replicas) return serving;
  const sized = { ...serving, replicas };
  // An autoscaler's floor cannot be read off the replicas that there are: it is noted only once it is applied.
  if (scaling.by === 'autoscaler') await adapter.apply(sized);
  await setReplicas(db, digest, replicas);
  logSize(log, serving, replicas, 'its load or its users changed', { floor, maximum, load });
  return sized;
}

/** What the engines say now, with what every worker's looks have found before. */
async function loadOf(
  db: Database,
  { digest, runtime, scaling }: ServingRow,
  { endpoints }: ServingObservation,
): Promise<{ load: number; lowFor: number }> {
  const engines = await Promise.all(endpoints.map((endpoint) => readEngine(endpoint)));
  const utilisations = engines.map((engine) => utilisationOf(engine, runtime));
  const load = smoothedLoad(utilisations, await notedLoad(db, digest));
  await noteLoad(db, digest, load);
  return { load, lowFor: await noteUtilisation(db, digest, isLow(load, utilisations, scaling)) };
}

/**
 * Takes replicas away from an adapter that ends the last of them at once: first no gateway is told of them any more, then every gateway
 * has acknowledged it and has no request left that was routed before, then they end. So no request fails. Nothing is remembered: a worker
 * that dies in between leaves a serving that has more replicas than it is to have, and the next goes on.
 */
async function withdrawSurplus(
  { db, adapter }: ScalingDeps,
  serving: ServingRow,
  observed: ServingObservation,
): Promise<string[]> {
  // Which endpoint is the last one's can be told only while all of them answer.
  if (observed.endpoints.length !== observed.wanted) return observed.endpoints;
  const kept = observed.endpoints.slice(0, serving.replicas);
  await publishEndpoints(db, serving.digest, kept);
  const { lagging, draining, lingering } = await acknowledgementOf(db, await readGeneration(db));
  if (lagging.length + draining.length + lingering.length === 0) await adapter.apply(serving);
  return kept;
}

/**
 * Applies the serving without taking a replica away that gateways may still use: whoever ends the last ones at once leaves that to
 * `withdrawSurplus`.
 */
export async function applyWhole(
  adapter: ServingAdapter,
  serving: ServingRow,
  seen: ServingObservation,
): Promise<void> {
  const replicas = adapter.endsTheLast ? Math.max(serving.replicas, seen.wanted) : serving.replicas;
  await adapter.apply({ ...serving, replicas });
}

const isSmaller = (seen: ServingObservation, serving: ServingRow): boolean => seen.wanted < serving.replicas;

function logSize(
  log: Logger,
  serving: ServingRow,
  replicas: number,
  why: string,
  figures: Record<string, unknown> = {},
): void {
  const cost = replicaCost(serving.runtime, serving.scaling);
  log.info(
    {
      serving: servingName(serving.digest),
      from: serving.replicas,
      to: replicas,
      ...(cost === null ? {} : { dollarsAnHour: cost * replicas }),
      ...figures,
    },
    `serving resized: ${why}`,
  );
}

/**
 * An attempt that was given up for lost may still run, on a worker that was cut off. Under the lock it sees that the release has begun to
 * roll back, which the removal has recorded before it took the lock; so what is removed is never applied again (invariant 5).
 */
export async function refuseIfWithdrawn(db: Queryable, release: string): Promise<void> {
  const { stage, endedAt } = await getRelease(db, release);
  if (endedAt === null && stage !== 'rolling-back' && stage !== 'rolled-back') return;
  const why = endedAt === null ? `it is ${stage}` : 'it has ended';
  throw new SlipwayError('SERVING_FAILED', `release ${release} needs no serving any more: ${why}`, {
    field: 'release',
    value: release,
    remedy: 'Nothing is to be done: this attempt came late',
  });
}
