import type { Phase, Stage } from '../words.ts';

/** How a workflow can end without having ended its release. */
export const unfinishedEnds = {
  terminated: 'its workflow was terminated in Temporal',
  'timed out': 'its workflow timed out',
  failed: 'its workflow failed',
  cancelled: 'its workflow was cut off by a cancellation',
  completed: 'its workflow completed without having ended it',
  unknown: 'Temporal does not know its workflow',
} as const;
export type UnfinishedEnd = keyof typeof unfinishedEnds;

/** What Temporal says of a release's workflow. */
export type WorkflowState =
  | { kind: 'running' }
  /** `at`: when it ended, ms since 1970. */
  | { kind: 'unfinished'; how: Exclude<UnfinishedEnd, 'unknown'>; at: number }
  /** Never heard of here, or forgotten. */
  | { kind: 'unknown' };

/** Signs of life of an active release, in ms since 1970 by the server's clock. */
export interface LifeSigns {
  /** The last that the store has of it: its claim, an event, a look. */
  lastSign: number;
  /** How often a canary is looked at, ms: the longest that a living release is silent in the store. */
  lookEvery: number;
}

/**
 * How the release's workflow ended unfinished; null: it is to be left alone, for now at least. The grace (ms) lets the last attempts of a
 * dead workflow come to their end. One that completed has recorded the end before: if the store, read after `now`, has its release active
 * all the same, a late attempt has claimed it again. A workflow that Temporal does not know may live in another namespace that the worker was not told of:
 * it counts as gone only when the store, too, has heard nothing of the release for longer than a living one is silent.
 */
export function endOf(
  state: WorkflowState,
  { lastSign, lookEvery }: LifeSigns,
  now: number,
  grace: number,
): UnfinishedEnd | null {
  switch (state.kind) {
    case 'running':
      return null;
    case 'unfinished':
      return now - state.at >= grace ? state.how : null;
    case 'unknown':
      return now - lastSign >= grace + 2 * lookEvery ? 'unknown' : null;
  }
}

/** The release as the store has it when no late attempt can change its route any more. */
export interface SweptRelease {
  id: string;
  stage: Stage;
  reason: string | null;
  candidate: string;
  stable: string | null;
}

/** What a sweep is to do. */
export interface SweepPlan {
  outcome: 'promoted' | 'rolled-back';
  /** The move that is made, or made again so that every gateway is seen to have taken it. */
  to: 'promoted' | 'withdrawn';
  /** Digest of the serving that the release needs no more; null: none. It stays if somebody else needs it. */
  remove: string | null;
  /** Why the release ended, for people; it names how the workflow ended. */
  reason: string;
}

/**
 * Where the traffic stands decides, not the stage that was told last: if the candidate is the application's stable revision, the release
 * had promoted it, and all that is left is the old serving; else nobody may stay on the candidate.
 */
export function sweepPlan(
  release: SweptRelease,
  how: UnfinishedEnd,
  route: { stable: string } | null,
  servings: { candidate: string; stable: string | null },
): SweepPlan {
  const ended = unfinishedEnds[how];
  if (route?.stable === release.candidate) {
    return {
      outcome: 'promoted',
      to: 'promoted',
      remove: servings.stable === servings.candidate ? null : servings.stable,
      reason: `${ended} when the candidate was the stable revision already`,
    };
  }
  const rollingBack = release.stage === 'rolling-back' || release.stage === 'rolled-back';
  return {
    outcome: 'rolled-back',
    to: 'withdrawn',
    remove: servings.stable === servings.candidate ? null : servings.candidate,
    reason:
      rollingBack && release.reason !== null
        ? `${release.reason}; ${ended} while it rolled back`
        : `${ended} in ${release.stage}`,
  };
}

/**
 * What a sweep tells in the release's row and audit is numbered from here on, after all that its workflow may have told; so are its moves
 * of traffic, which fences every late attempt of the workflow's.
 */
export const SWEEP_NUMBER = 1_000_000_000;

/** Stage and phase of a release that is swept, before and after its end. */
export function sweptAs(outcome: SweepPlan['outcome'], ended: boolean): { stage: Stage; phase: Phase } {
  if (outcome === 'promoted') return { stage: 'done', phase: 'Healthy' };
  return { stage: ended ? 'rolled-back' : 'rolling-back', phase: 'Degraded' };
}
