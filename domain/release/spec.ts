import type { Policy } from '../policy/policy.ts';
import type { ModelSpec, RuntimeSpec } from '../serving/serving.ts';

/**
 * What an engineer asks for. Everything is by reference: prompts, golden sets and guardrail configs are pushed before, so that the
 * workflow's input and history hold names and digests only.
 */
export interface ReleaseSpec {
  application: string;
  /** `name@n` of a pushed prompt version. */
  prompt: string;
  /** Left out: the stable revision's. A first release must give it. */
  model?: ModelSpec | undefined;
  /** Left out: the stable revision's. A first release must give it. */
  runtime?: RuntimeSpec | undefined;
  /** `name@n`; left out: the stable revision's. */
  guardrails?: string | undefined;
  /** Digest of the revision to return to; left out: the stable one. Named, it must be the stable one. */
  rollback?: string | undefined;
  policy: Policy;
  /** Where notices go, besides the log. */
  webhook?: string | undefined;
}

/** One small JSON starts the workflow, from the API and from the Temporal UI alike. */
export interface ReleaseInput {
  application: string;
  prompt: string;
  /** Idempotency key; the workflow's id when left out (Temporal UI). */
  key?: string | undefined;
  /** Who asks: set by the API from the key; typed by hand in the Temporal UI. The requester cannot sign off. */
  requester: string;
  /** Digest of a spec stored by the API; the Temporal UI leaves it out and the fields above, with the application's last policy, make the spec. */
  spec?: string | undefined;
}

/** What the registering activity makes of the input; small, and free of texts. */
export interface ReleasePlan {
  release: string;
  application: string;
  requester: string;
  candidate: string;
  /** null: a first release, with nothing to compare with. */
  stable: string | null;
  /** Serving digests. */
  candidateServing: string;
  stableServing: string | null;
  /** A live serving already has the candidate's model and flags. */
  sharesServing: boolean;
  /** Only what the workflow itself times or branches on; activities read the whole policy from the store. */
  timing: ReleaseTiming;
}

export interface ReleaseTiming {
  canaryWeight: number;
  horizons: number[];
  signOffRequired: boolean;
  signOffTimeout: number;
  promotionSteps: number[];
  hold: number;
  baking: number;
}

/** The first thing that is wrong with a workflow's input, which people type in the Temporal UI; null: nothing that can be seen without the store. */
export function inputProblem(input: unknown): { field: string; message: string; remedy: string } | null {
  const remedy = 'Start it with {"application": "…", "prompt": "name@n", "requester": "who you are"}';
  if (typeof input !== 'object' || input === null) {
    return { field: 'input', message: 'the input of the release is not a JSON object', remedy };
  }
  for (const field of ['application', 'prompt', 'requester'] as const) {
    const value = (input as Partial<ReleaseInput>)[field];
    if (typeof value !== 'string' || value.trim() === '') {
      return { field, message: `the release does not say its ${field}`, remedy };
    }
  }
  return null;
}
