import type { ReleaseInput, ReleasePlan } from '../domain/release/spec.ts';
import type { StoryLine } from '../domain/release/story.ts';
import type { Phase, Stage } from '../domain/words.ts';

/** Where the release stood when it scheduled an activity; mirrored into the store, so that a stage change costs no event of its own. */
export interface Progress {
  release: string;
  /** Number of the story's last line: an older state that arrives late is not written. */
  sequence: number;
  stage: Stage;
  phase: Phase;
  reason: string | null;
  /** The story's last lines, oldest first: all that no activity is known to have mirrored yet. */
  story: readonly StoryLine[];
}

/** What every activity of a release is given; some take more. Small values and digests only: they stay in history. */
export interface Step {
  progress: Progress;
}

export interface CheckResult {
  passed: boolean;
  /** For people: the figures, or what failed and the remedy. */
  summary: string;
}

export interface EvaluationResult extends CheckResult {
  /** What a sign-off of a first release binds, for which there is no verdict. */
  digest: string;
}

/** A move of the release's traffic. */
export interface Move {
  /** `canary`: both arms at a weight; `promoted`: the candidate becomes the stable revision; `withdrawn`: everybody back on stable. */
  to: 'canary' | 'promoted' | 'withdrawn';
  weight: number;
  /** Number of the move within the release: fences a late attempt of an earlier one. */
  phase: number;
  /** When the canary began, ms since 1970; null before it. */
  canarySince: number | null;
}

export interface VerdictSummary {
  decision: 'promote' | 'rollback' | 'continue' | 'invalid';
  evidence: string;
  /** One line with the figures. */
  summary: string;
}

/** The activities of the release workflow. Those that say "waits" throw a retryable "not yet" until they are done. */
export interface ReleaseActivities {
  /** Resolves the input to revisions and claims the application (invariant 1). */
  registerRelease(step: Step & { input: ReleaseInput; workflowId: string }): Promise<ReleasePlan>;
  checkPreflight(step: Step): Promise<CheckResult>;
  evaluateCandidate(step: Step): Promise<EvaluationResult>;
  /** Applies the candidate's serving and waits until it is ready and its endpoints are published. */
  provideServing(step: Step & { serving: string }): Promise<void>;
  /** Waits until no gateway routes to the serving or has a request in flight on it, then removes it. Leaves it if a route or another release needs it. */
  removeServing(step: Step & { serving: string }): Promise<void>;
  /** Makes and stores the gate's plan, before the canary begins. */
  planGate(step: Step): Promise<CheckResult>;
  /** Writes the route and waits until every live gateway has acknowledged it (invariant 2). */
  moveTraffic(step: Step & { move: Move }): Promise<void>;
  /** Waits for a breach; each attempt is one look, recorded. @returns the breach, in words */
  watchGuards(step: Step & { canarySince: number }): Promise<string>;
  /** Waits while a measurement cannot be made, then judges at the preregistered horizon. */
  judgeCanary(step: Step & { horizon: number; canarySince: number }): Promise<VerdictSummary>;
  /** Waits until `until` (ms since 1970), and then while the guards cannot be measured: nobody goes on unseen (invariant 4). */
  holdCanary(step: Step & { until: number }): Promise<void>;
  /** Tells people; never blocks a release for long. */
  notify(step: Step & { event: string; text: string }): Promise<void>;
  /** Records the end and frees the application. */
  endRelease(step: Step & { outcome: 'promoted' | 'rolled-back' }): Promise<void>;
}
