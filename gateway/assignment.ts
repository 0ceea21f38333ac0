import { createHmac } from 'node:crypto';
import { armOf, bucketOf } from '../domain/bucketing.ts';
import { CLOCK_TOLERANCE, stratumId } from '../domain/gate/strata.ts';
import type { ArmTarget, Route } from '../domain/routing.ts';
import type { Arm } from '../domain/words.ts';

const DAY = 86_400_000;
/** Phases that a stratum's id can tell apart; a release that moves more often shares the last one. */
const LAST_PHASE = 63;

/** Keyed hash of a tenant's user: the same person at two tenants is two users, and nobody without the key can tell who they are. */
export function userKeyOf(secret: string, tenant: string, user: string): string {
  return createHmac('sha256', secret).update(`${tenant}\0${user}`).digest('hex');
}

export interface Assignment {
  /** The release that the request counts for; null: none has a canary. */
  release: string | null;
  /** The arm assigned, for which the request counts whatever serves it (invariant 12); null: no user. */
  arm: Arm | null;
  /** What serves the request. */
  target: ArmTarget;
  stratum: number;
  /** The online evaluator scores the answer. */
  scored: boolean;
}

export interface Arrival {
  requestId: string;
  /** null: a request without a user, served on the stable arm and kept out of the gate. */
  userKey: string | null;
  /** ms since 1970 */
  at: number;
  /** The gateway has lost touch with the route table: nobody is served by a canary (invariant 2). */
  stableOnly: boolean;
}

export function assign(route: Route, arrival: Arrival): Assignment {
  const { release, canary, canarySince } = route;
  const scored = bucketOf('scored', arrival.requestId) < route.scoredShare;
  if (release === null || canary === null || canarySince === null) {
    const stratum = stratumId({ at: arrival.at, from: 0, length: DAY });
    const arm = arrival.userKey === null ? null : 'stable';
    return { release: null, arm, target: route.stable, stratum, scored };
  }
  const arm = arrival.userKey === null ? null : armOf(release, arrival.userKey, route.weight);
  const stratum = stratumId({
    // A clock that is a little behind the control plane's must not make a stratum before the first; one that is far behind must, to be seen.
    at: arrival.at > canarySince - CLOCK_TOLERANCE ? Math.max(arrival.at, canarySince) : arrival.at,
    from: canarySince,
    length: route.stratumMs,
    phase: Math.min(route.phase, LAST_PHASE),
  });
  const target = arm === 'canary' && !arrival.stableOnly ? canary : route.stable;
  return { release, arm, target, stratum, scored };
}
