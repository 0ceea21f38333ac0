import type { ReleaseInput } from '../domain/release/spec.ts';
import type { StoryLine } from '../domain/release/story.ts';
import type { Approval, ReleaseStatus } from './messages.ts';

/** Why a release is stopped, and by whom. */
export interface Stop {
  reason: string;
  by: string;
}

/** All that the workflow knows of its release; the queries show it, messages and stages change it. */
export interface ReleaseState extends Omit<ReleaseStatus, 'release'> {
  release: string;
  paused: boolean;
  approval: Approval | null;
  stop: Stop | null;
  story: StoryLine[];
  /** Number of moves of traffic so far: fences late attempts. */
  moves: number;
}

/** The release's id: the API's workflow ids are `release:<id>`; one typed in the Temporal UI is the id itself. */
export function releaseIdOf(workflowId: string): string {
  return workflowId.replace(/^release:/, '');
}

export function initialState(input: ReleaseInput, workflowId: string, startedAt: Date): ReleaseState {
  return {
    release: releaseIdOf(workflowId),
    application: input.application,
    requester: input.requester,
    stage: 'registering',
    phase: 'Progressing',
    weight: { desired: 0, observed: 0 },
    reason: null,
    candidate: null,
    stable: null,
    evidence: null,
    verdict: null,
    startedAt: startedAt.toISOString(),
    canarySince: null,
    horizon: null,
    paused: false,
    approval: null,
    stop: null,
    story: [],
    moves: 0,
  };
}

export function statusOf(state: ReleaseState): ReleaseStatus {
  const { paused: _p, approval: _a, stop: _s, story: _l, moves: _m, ...status } = state;
  return status;
}
