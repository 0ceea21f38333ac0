import type { Logger } from 'pino';
import { SlipwayError } from '../domain/errors.ts';
import type { Database, Queryable } from '../store/database.ts';
import { fenceMoves, getRelease, loadSpec, recordCanarySince } from '../store/releases.ts';
import { acknowledgementOf, findRoute, moveTraffic, type NewRoute, type RouteRow } from '../store/routes.ts';
import type { Move, ReleaseActivities } from './contract.ts';
import { finalErrors, notYet } from './watch.ts';

export interface TrafficDependencies {
  db: Database;
  log: Logger;
}

/** How long one attempt looks for the acknowledgement before it says "not yet": rollbacks are seen within milliseconds of it. */
const ATTEMPT_MS = 3_000;
const LOOK_MS = 20;

export function createTrafficActivities({
  db,
  log,
}: TrafficDependencies): Pick<ReleaseActivities, 'moveTraffic'> {
  return {
    moveTraffic: ({ progress, move }) =>
      finalErrors(async () => {
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
