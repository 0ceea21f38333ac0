import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { StoryLine } from '../domain/release/story.ts';
import type { Phase, Stage } from '../domain/words.ts';

/** The workflow type, as the Temporal UI asks for it. */
export const RELEASE_WORKFLOW = 'release';

/** Who decides, and why. The API fills `by` from the key; in the Temporal UI it is typed by hand. */
export interface Decision {
  by: string;
  reason?: string | undefined;
}

/** A sign-off binds what was read: the release is the workflow, revision and evidence are named here (invariant 7). */
export interface Approval extends Decision {
  revision: string;
  evidence: string;
}

/** What the release is doing now; small enough to poll. */
export interface ReleaseStatus {
  release: string | null;
  application: string;
  stage: Stage;
  phase: Phase;
  /** Desired weight of the canary; `observed` is what every live gateway acknowledged last. */
  weight: { desired: number; observed: number };
  /** Why it is paused, degraded or rolled back; null while nothing is to be explained. */
  reason: string | null;
  candidate: string | null;
  stable: string | null;
  requester: string;
  /** What an approval must name, once the gate has spoken. */
  evidence: string | null;
  verdict: string | null;
  startedAt: string;
  canarySince: string | null;
  /** Index and time (ISO 8601) of the next preregistered horizon. */
  horizon: { index: number; at: string } | null;
}

export interface ReleaseOutcome {
  release: string;
  outcome: 'promoted' | 'rolled-back';
  reason: string;
  evidence: string | null;
  /** What a query would say ever after: nobody has to replay the workflow for it. */
  status: ReleaseStatus;
}

/** The workflow type that ends a release whose own workflow ended unfinished. */
export const SWEEP_WORKFLOW = 'sweep';

export interface SweepInput {
  release: string;
  /** How long ago, in ms, the release's workflow must have ended. */
  grace: number;
  /** Who or what asks for it at once, in words that its reason begins with; left out: the sweeper found it. */
  because?: string;
}

export interface SweepOutcome {
  release: string;
  /** null: there was nothing to sweep, because the release has ended or its workflow runs. */
  outcome: ReleaseOutcome['outcome'] | null;
  reason: string | null;
}

/** Workflow id of a sweep: whoever starts one, there is one at a time for a release. */
export function sweepIdOf(release: string): string {
  return `sweep:${release}`;
}

/** Updates are refused before they reach history; their result is the status after them. */
export const updates = {
  approve: defineUpdate<ReleaseStatus, [Approval]>('approve'),
  reject: defineUpdate<ReleaseStatus, [Decision]>('reject'),
  pause: defineUpdate<ReleaseStatus, [Decision]>('pause'),
  resume: defineUpdate<ReleaseStatus, [Decision]>('resume'),
  abort: defineUpdate<ReleaseStatus, [Decision]>('abort'),
};

/** The same as signals, for the Temporal UI: judged by the same rule, and ignored aloud when refused. */
export const signals = {
  approve: defineSignal<[Approval]>('approve'),
  reject: defineSignal<[Decision]>('reject'),
  pause: defineSignal<[Decision]>('pause'),
  resume: defineSignal<[Decision]>('resume'),
  abort: defineSignal<[Decision]>('abort'),
};

export const queries = {
  status: defineQuery<ReleaseStatus>('status'),
  explain: defineQuery<StoryLine[]>('explain'),
};
