import type { MemoryPlan } from './memory.ts';

/** Of an A100-80GB: memory bandwidth in bytes/s, and dense bf16 flop/s at the share that prefill reaches. */
const BANDWIDTH = 2.0e12;
const FLOPS = 312e12 * 0.55;
/** Scheduling, kernel launches, sampling of one step. */
const STEP_OVERHEAD_MS = 1.2;
/** Sampling and detokenising of one sequence. */
const SEQUENCE_MS = 0.03;
/** HTTP, tokenising and queueing between the request and the first step that can take it. */
export const ARRIVAL_MS = 12;

export interface StepLoad {
  prefillTokens: number;
  decodingSequences: number;
  /** Tokens whose keys and values are read in the step. */
  contextTokens: number;
}

/** How long an engine step takes, by the roofline: weights and KV cache are read once, prefill tokens are computed. Milliseconds. */
export function stepMilliseconds(
  load: StepLoad,
  plan: Pick<MemoryPlan, 'weightBytes' | 'kvBytesPerToken'>,
  parametersPerRank: number,
): number {
  const read = (plan.weightBytes + load.contextTokens * plan.kvBytesPerToken) / BANDWIDTH;
  const computed = (2 * parametersPerRank * (load.prefillTokens + load.decodingSequences)) / FLOPS;
  return Math.max(read, computed) * 1000 + STEP_OVERHEAD_MS + SEQUENCE_MS * load.decodingSequences;
}
