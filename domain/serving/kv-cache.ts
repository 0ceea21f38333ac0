import type { ModelArchitecture } from './serving.ts';

/** How vLLM spreads one replica over GPUs. */
export interface Parallelism {
  tensor: number;
  pipeline: number;
}

export const onOneGpu: Parallelism = { tensor: 1, pipeline: 1 };

/** Tokens of a block unless --block-size says otherwise. */
export const DEFAULT_BLOCK_TOKENS = 16;

/**
 * Bytes of KV cache that one token takes in so many layers, over all GPUs of a replica: 2 (key and value) · layers · KV heads · head
 * dimension · bytes. Tensor parallelism shares the KV heads out; with fewer heads than ranks every rank keeps one, so the whole grows.
 */
function layerBytes(
  layers: number,
  { kvHeads, headDim, kvBytes }: ModelArchitecture,
  { tensor, pipeline }: Parallelism,
): number {
  const headsPerRank = Math.ceil(kvHeads / tensor);
  const bytesPerRank = 2 * Math.ceil(layers / pipeline) * headsPerRank * headDim * kvBytes;
  return bytesPerRank * tensor * pipeline;
}

/** Bytes that one token takes while every layer keeps it; layers with a sliding window let go of it later. */
export function kvBytesPerToken(architecture: ModelArchitecture, parallelism = onOneGpu): number {
  return layerBytes(architecture.layers, architecture, parallelism);
}

/** Tokens that a cache of so many bytes holds: whole blocks, as vLLM allocates it. */
export function cacheTokens(
  bytes: number,
  bytesPerToken: number,
  blockTokens = DEFAULT_BLOCK_TOKENS,
): number {
  return Math.max(0, Math.floor(bytes / (bytesPerToken * blockTokens))) * blockTokens;
}

/** How vLLM cuts the cache of a model into blocks. */
export interface BlockLayout {
  /** Tokens of a block. */
  blockTokens: number;
  /** Bytes of a block, over all GPUs. */
  blockBytes: number;
  /** Groups of layers that keep every token, and of those that keep a window of it. */
  groups: { full: number; sliding: number };
  /** 0: no layer has a window. */
  windowTokens: number;
}

/**
 * Layers with a sliding window and layers without one share one pool of blocks of one size: vLLM deals them into groups as large as the
 * smaller kind, padding the last, or as the larger kind when the two are nearly equal; a block holds a block's tokens in one group.
 * Source: vLLM docs/design/hybrid_kv_cache_manager.md, and the group size of v1/core/kv_cache_utils.py.
 */
export function blockLayout(
  architecture: ModelArchitecture,
  parallelism: Parallelism,
  blockTokens: number,
): BlockLayout {
  const sliding = architecture.slidingWindow?.layers ?? 0;
  const kinds = [architecture.layers - sliding, sliding].filter((layers) => layers > 0);
  const [smaller, larger] = [Math.min(...kinds), Math.max(...kinds)];
  const groupLayers = larger < smaller * 1.5 ? larger : smaller;
  return {
    blockTokens,
    blockBytes: layerBytes(groupLayers, architecture, parallelism) * blockTokens,
    groups: {
      full: Math.ceil((architecture.layers - sliding) / groupLayers),
      sliding: Math.ceil(sliding / groupLayers),
    },
    windowTokens: architecture.slidingWindow?.tokens ?? 0,
  };
}

/**
 * Blocks that a request of so many tokens takes at most. A layer with a window keeps the window and what one step of the scheduler adds to
 * it, and one block more because the window need not begin with a block (vLLM, SlidingWindowSpec.max_memory_usage_bytes).
 */
export function blocksPerRequest(layout: BlockLayout, tokens: number, batchedTokens: number): number {
  const { blockTokens, groups, windowTokens } = layout;
  const kept = Math.min(windowTokens - 1 + batchedTokens, tokens);
  const ofWindow = groups.sliding === 0 ? 0 : Math.ceil(kept / blockTokens) + 1;
  return groups.full * Math.ceil(tokens / blockTokens) + groups.sliding * ofWindow;
}

/** The longest request, in tokens, of which the blocks hold so many at once: whole blocks, at most `longest`. */
export function longestRequest(
  layout: BlockLayout,
  blocks: number,
  requests: number,
  batchedTokens: number,
  longest: number,
): number {
  const fits = (tokens: number): boolean =>
    blocksPerRequest(layout, tokens, batchedTokens) * requests <= blocks;
  let low = 0;
  let high = Math.floor(longest / layout.blockTokens);
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(middle * layout.blockTokens)) low = middle;
    else high = middle - 1;
  }
  return low * layout.blockTokens;
}
