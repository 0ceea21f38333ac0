import type { PromptContent } from './prompt/prompt.ts';
import type { ModelSpec } from './serving/serving.ts';

/** What a gateway needs to serve one arm; self-contained, so that a gateway can go on with its last table alone. */
export interface ArmTarget {
  /** Digest of the revision. */
  revision: string;
  prompt: PromptContent;
  /** `name@n`, for labels and people. */
  promptRef: string;
  /** Its price is the last that was said of this model with these flags, also where the revision was made with another. */
  model: ModelSpec;
  /** Name under which the serving answers, i.e. vLLM's `--served-model-name`. */
  servedModel: string;
  /** Digest of the serving: by it a gateway in a cluster finds the replicas that answer this very moment. */
  serving: string;
  /** Base URLs of replicas as the control plane last saw them ready, without a trailing slash and without `/v1`; empty: withdrawn. */
  endpoints: string[];
}

/** How one application's traffic flows. */
export interface Route {
  application: string;
  /** The active release, which salts the bucketing; null: none, everybody is on stable. */
  release: string | null;
  /** Desired share of users on the canary arm, 0–1. */
  weight: number;
  stable: ArmTarget;
  canary: ArmTarget | null;
  /** Counts the weights of the release: 0 while the gate collects, one more with every move. Strata never mix phases (Simpson). */
  phase: number;
  /** Share of answers, 0–1, that the online evaluator scores: the same on both arms (invariant 12). */
  scoredShare: number;
  /** Length in ms of the strata of the gate's data: a day, unless the release's policy compresses it. */
  stratumMs: number;
  /** When the active release's canary began (ms since 1970): strata count from here; null without a canary. */
  canarySince: number | null;
}

export interface RouteTable {
  /** Grows by one with every change to any route or endpoint; gateways acknowledge it (invariant 2). */
  generation: number;
  routes: Record<string, Route>;
}

/** A gateway holds a lease; without a renewal for this long it is not waited for when traffic moves. */
export const GATEWAY_LEASE_MS = 5_000;

/** A gateway that cannot renew or read the table for this long serves the stable arm only. */
export const GATEWAY_STABLE_ONLY_MS = 30_000;
