import type { GatePlan } from '../domain/gate/types.ts';

/** What the API answers, as far as the command line reads it; /openapi.json says the rest. */
export interface Release {
  release: string;
  application: string;
  requester: string;
  stage: string;
  phase: string;
  reason: string | null;
  candidate: string | null;
  stable: string | null;
  weight: { desired: number; observed: number } | null;
  evidence: string | null;
  verdict: string | null;
  horizon: { index: number; at: string } | null;
  startedAt: string;
  canarySince: string | null;
  endedAt: string | null;
  samples: Record<'stable' | 'canary', { samples: number; users: number }> | null;
  pending: Pending[];
  live: boolean;
}

export interface Pending {
  activity: string;
  attempt: number;
  message: string | null;
  code: string | null;
  progress: unknown;
}

export interface StoryLine {
  at: string;
  stage: string;
  text: string;
}

export interface Explanation {
  release: Release;
  story: StoryLine[];
}

/** What a release was judged by. */
export interface Evidence {
  release: string;
  plan: { plan: GatePlan } | null;
  canarySince: string | null;
  weights: number[];
  verdicts: { horizon: number; digest: string; judgedAt: string }[];
}
