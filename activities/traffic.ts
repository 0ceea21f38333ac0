import { cancellationSignal } from '@temporalio/activity';
import type { Logger } from 'pino';
import type { ServingAdapter } from '../adapters/serving/adapter.ts';
import { SlipwayError } from '../domain/errors.ts';
import { shareOf } from '../domain/serving/scaling.ts';
import { servingName } from '../domain/serving/serving.ts';
import type { Database, Queryable } from '../store/database.ts';
import { fenceMoves, getRelease, loadSpec, recordCanarySince } from '../store/releases.ts';
import { getRevision } from '../store/revisions.ts';
import { acknowledgementOf, findRoute, moveTraffic, type NewRoute, type RouteRow } from '../store/routes.ts';
import { askForWeight, carriedBy } from '../store/servings.ts';
import type { Move, ReleaseActivities } from './contract.ts';
import { sizedForUsers } from './scaling.ts';
import { servingFailed } from './serving.ts';
import { finalErrors, notYet, watchedFor } from './watch.ts';

export interface TrafficDependencies {
  db: Database;
  adapter: ServingAdapter;
  log: Logger;
}

/** How long one attempt looks for the acknowledgement before it says "not yet": rollbacks are seen within milliseconds of it. */
const ATTEMPT_MS = 3_000;
const LOOK_MS = 20;
/** How soon a serving that grows is looked at again. */
const LOOK_AT_SIZE_MS = 1_000;

export function createTrafficActivities(deps: TrafficDependencies): Pick<ReleaseActivities, 'moveTraffic'> {
  const { db, log } = deps;
  return {
    moveTraffic: ({ progress, move }) =>
      finalErrors(async () => {
        await sizeForMove(deps, progress.release, move);
        const generation = await writeRoute(db, progress.release, move);
        if (generation === null) return;
        const waiting = await waitForGateways(db, generation);
        if (waiting !== null) throw notYet(waiting, 500);
        log.info(
          { release: progress.release, stage: progress.stage, weight: move.weight, generation },
          `traffic is ${move.to}`,
        );
      }),
  };
}

/**
 * Before more users come to the candidate, its serving has the replicas for them ready; it asks for them and says "not yet" until then.
 * A withdrawal never waits for that, nor does a weight that stands already. A canary whose serving cannot grow in the time that the policy
 * gives it ends its release. A promotion is past failing: it goes on with what there is, and whoever keeps the servings goes on growing.
 */
async function sizeForMove(deps: TrafficDependencies, releaseId: string, move: Move): Promise<void> {
  const { db, adapter, log } = deps;
  const release = await getRelease(db, releaseId);
  const weight = move.to === 'promoted' ? 1 : move.weight;
  await askForWeight(db, release.id, weight, move.phase);
  if (move.to === 'withdrawn') return;
  const { serving: digest } = await getRevision(db, release.candidate);
  if (weight <= (await weightOn(db, release.application, digest))) return;
  const { readyWithin } = (await loadSpec(db, release.spec)).policy.serving;
  const left = readyWithin - watchedFor();
  const over = AbortSignal.any([
    cancellationSignal(),
    AbortSignal.timeout(Math.max(0, Math.min(ATTEMPT_MS, left))),
  ]);
  for (;;) {
    const seen = await sizedForUsers(deps, release.id, digest);
    if (seen === null) return;
    const message = `the serving is not sized for weight ${weight}: ${seen.message}`;
    if (left <= 0 || (seen.state === 'failed' && move.to === 'canary')) {
      if (move.to === 'canary') throw servingFailed(seen, message);
      log.warn({ release: release.id, serving: servingName(digest), message }, 'promoted before it is sized');
      return;
    }
    if (over.aborted) throw notYet(message, Math.min(LOOK_AT_SIZE_MS, left));
    await adapter.changed(digest, over);
  }
}

/** Share of the application's users that the serving is sized for by the route: nothing grows where both arms are on it. */
async function weightOn(db: Database, application: string, serving: string): Promise<number> {
  const here = (await carriedBy(db, serving)).find((one) => one.application === application);
  return here === undefined ? 0 : shareOf({ ...here, desired: 0 });
}

/**
 * Fence, read, then fence and compare-and-set in one transaction. So nothing of an earlier move is written after the first fence, however
 * late its attempt goes on; what it wrote before is what is read; and a later move that fences in between keeps this one out.
 * @returns the generation to wait for; null when there is nothing to wait for: there is no route, or the next release has it
 */
async function writeRoute(db: Database, releaseId: string, move: Move): Promise<number | null> {
  const release = await getRelease(db, releaseId);
  const { policy } = await loadSpec(db, release.spec);
  const fence = (tx: Queryable) => fenceMoves(tx, release.id, move.phase);
  for (;;) {
    await fence(db);
    const standing = await findRoute(db, release.application);
    if (standing !== null && standing.release !== null && standing.release !== release.id) {
      if (move.to === 'withdrawn') return null;
      throw new SlipwayError(
        'ROUTE_CONFLICT',
        `the route of ${release.application} belongs to ${standing.release}`,
        {
          field: 'release',
          value: release.id,
          remedy: 'Only the active release moves traffic; end the other one first',
        },
      );
    }
    const wanted = routeAfter(move, release, policy, standing);
    // It is withdrawn already, perhaps by an attempt that the gateways have not acknowledged yet.
    if (wanted === null) return standing?.generation ?? null;
    try {
      if (move.canarySince !== null) await recordCanarySince(db, release.id, new Date(move.canarySince));
      return await moveTraffic(db, wanted, standing?.generation ?? null, fence);
    } catch (error) {
      // Somebody (a late attempt, another worker) moved it in between: read again and decide again.
      if (!(error instanceof SlipwayError && error.code === 'ROUTE_CONFLICT')) throw error;
    }
  }
}

function routeAfter(
  move: Move,
  release: { id: string; application: string; candidate: string; stable: string | null },
  policy: { canary: { scoredShare: number }; gate: { stratum: number } },
  standing: RouteRow | null,
): NewRoute | null {
  const base = {
    application: release.application,
    phase: move.phase,
    scoredShare: policy.canary.scoredShare,
    stratumMs: policy.gate.stratum,
  };
  const quiet = { ...base, release: null, weight: 0, canary: null, canarySince: null };
  switch (move.to) {
    case 'canary':
      if (release.stable === null || move.canarySince === null) {
        throw new SlipwayError('INTERNAL', 'a canary needs a stable revision and a beginning');
      }
      return {
        ...base,
        release: release.id,
        weight: move.weight,
        stable: release.stable,
        canary: release.candidate,
        canarySince: new Date(move.canarySince),
      };
    case 'promoted':
      return { ...quiet, stable: release.candidate };
    case 'withdrawn':
      // Nothing was moved, or it is withdrawn already.
      return standing === null || standing.release !== release.id
        ? null
        : { ...quiet, stable: standing.stable };
  }
}

/** @returns null when every live gateway has acknowledged; else who has not */
async function waitForGateways(db: Database, generation: number): Promise<string | null> {
  const deadline = performance.now() + ATTEMPT_MS;
  for (;;) {
    const { live, lagging } = await acknowledgementOf(db, generation);
    if (lagging.length === 0) return null;
    if (performance.now() > deadline) {
      return `${live - lagging.length} of ${live} gateways acknowledged generation ${generation}; waiting for ${lagging.join(', ')}`;
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
