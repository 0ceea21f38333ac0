import type { Parallelism } from './kv-cache.ts';

/** No wider tensor parallelism is proposed: it would span more than eight machines. */
export const WIDEST_TENSOR = 64;

/**
 * Can so many ranks share the KV heads? Each takes as many as the others; with fewer heads than ranks, each head is on as many ranks as
 * the others. Source: the assertions of LlamaAttention and its likes in vLLM's model_executor/models/llama.py. They want the attention
 * heads to divide by the ranks, too, which follows from this up to as many ranks as KV heads: each of those serves a group of them.
 */
export function sharesHeads(kvHeads: number, tensor: number): boolean {
  return kvHeads >= tensor ? kvHeads % tensor === 0 : tensor % kvHeads === 0;
}

/** Numbers of ranks that share the heads, from 1 on up to `most`. */
export function tensorSizes(kvHeads: number, most: number): number[] {
  const all = Array.from({ length: Math.min(most, WIDEST_TENSOR) }, (_, index) => index + 1);
  return all.filter((size) => sharesHeads(kvHeads, size));
}

/** The largest such number that so many GPUs have room for; null: they are fewer than the stages of the pipeline. */
export function widestTensor(kvHeads: number, gpus: number, { pipeline }: Parallelism): number | null {
  return tensorSizes(kvHeads, Math.floor(gpus / pipeline)).at(-1) ?? null;
}
