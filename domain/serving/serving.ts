import { digestOf, shortDigest } from '../digest.ts';

/** Value of a runtime flag: `true` means the bare flag, `false` its `--no-` form. */
export type FlagValue = string | number | boolean;

/** What the KV-cache formula needs of a model; `config.json` of a Hugging Face model has all but the weights' size. */
export interface ModelArchitecture {
  layers: number;
  kvHeads: number;
  headDim: number;
  /** Bytes of one element of the KV cache: 2 for bf16, 1 for fp8. */
  kvBytes: number;
  /** Layers that keep only a window of the context, and the window; left out: every layer keeps all of it. */
  slidingWindow?: { layers: number; tokens: number } | undefined;
  /** Size of the weights in memory, over all GPUs. */
  weightsGiB: number;
}

export interface ModelSpec {
  /** Hugging Face id or a path that the runtime can load, e.g. `meta-llama/Llama-3.1-8B-Instruct`. */
  name: string;
  architecture: ModelArchitecture;
  /** US dollars per million tokens, for cost per request. */
  price: { inputPerMillion: number; outputPerMillion: number };
}

export interface RuntimeSpec {
  /** vLLM's flags without the leading dashes, e.g. `max-model-len: 8192`. Model, name, host and port are Slipway's own. */
  flags: Record<string, FlagValue>;
  gpu: { kind: string; memoryGiB: number; count: number };
  /** Requests at full context that a replica must hold at once; the capacity check refuses what cannot. */
  concurrency: number;
  /** Replicas that carry the application's whole traffic; a canary of a tenth of it gets a tenth of them. */
  replicas: number;
  /** vLLM's container image, pinned by digest (`…@sha256:…`); left out: the cluster's own. Without meaning where servings are processes. */
  image?: string | undefined;
}

/** The vLLM deployment of a model × runtime flags. */
export interface Serving {
  digest: string;
  model: ModelSpec;
  runtime: RuntimeSpec;
  /** Set when the policy asks for a serving of its own: the release's id, which makes the digest differ from every other. */
  dedicatedTo: string | null;
}

/** How many replicas a serving has, and who changes it. */
export interface ScalingPolicy {
  /**
   * `slipway`: by vLLM's own figures, see scaling.ts. `autoscaler`: by the cluster's, on waiting requests (KEDA where its API exists,
   * else a HorizontalPodAutoscaler); Slipway then only sets the floor.
   */
  by: 'slipway' | 'autoscaler';
  /** Bounds of the number of replicas, whatever the demand. */
  minReplicas: number;
  maxReplicas: number;
  /** Utilisation to aim at, 0–1. */
  target: number;
  /** Below this utilisation for `shrinkAfter` (ms) the serving loses replicas. */
  shrinkBelow: number;
  shrinkAfter: number;
  /** What a serving may cost at most, in US dollars an hour, at `gpuHourPrice` dollars an hour and GPU; null: no such bound. */
  maxCostPerHour: number | null;
  gpuHourPrice: number | null;
}

/** Who first asked for a serving; labels of its objects, for people and for the reaper's report. */
export interface ServingOrigin {
  application: string;
  release: string;
  /** Digest. */
  revision: string;
}

/** A serving as it is to be now. */
export interface WantedServing extends Serving {
  /** Replicas wanted now; under `autoscaler` their floor. */
  replicas: number;
  scaling: ScalingPolicy;
  origin: ServingOrigin | null;
}

/** Price and architecture describe the model, they do not change the process; so they are left out. */
export function servingDigest(
  model: ModelSpec,
  runtime: RuntimeSpec,
  dedicatedTo: string | null = null,
): string {
  return digestOf({ kind: 'serving', model: model.name, runtime, dedicatedTo });
}

/** Deterministic name of the serving's objects, wherever it runs (invariant 6). */
export function servingName(digest: string): string {
  return `slipway-${shortDigest(digest)}`;
}
