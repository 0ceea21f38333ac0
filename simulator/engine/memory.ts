import type { Architecture } from './model.ts';
import { StartRefused } from './refused.ts';

export interface MemorySettings {
  /** GiB of one simulated GPU. */
  gpuMemoryGiB: number;
  gpuMemoryUtilization: number;
  tensorParallelSize: number;
  /** null: the model's own maximum. */
  maxModelLen: number | null;
  maxNumBatchedTokens: number | null;
  quantization: string | null;
  dtype: string;
  kvCacheDtype: string;
  blockSize: number;
}

export interface MemoryPlan {
  maxModelLen: number;
  maxNumBatchedTokens: number;
  weightBits: number;
  /** Per rank. */
  weightBytes: number;
  /** Per rank. */
  kvBytesPerToken: number;
  blocks: number;
}

const GiB = 2 ** 30;
/** CUDA context, graphs and NCCL buffers of one rank. */
const OVERHEAD_BYTES = 1.5 * GiB;

const weightBitsByQuantization: Record<string, number> = {
  fp8: 8,
  'compressed-tensors': 8,
  modelopt: 8,
  awq: 4,
  awq_marlin: 4,
  gptq: 4,
  gptq_marlin: 4,
  bitsandbytes: 4,
};

/** vLLM's sizing: what is left of the share of the GPU after weights and activations is KV cache. Throws StartRefused as vLLM does. */
export function planMemory(architecture: Architecture, settings: MemorySettings): MemoryPlan {
  const ranks = settings.tensorParallelSize;
  if (architecture.heads % ranks !== 0) {
    throw new StartRefused(
      `ValidationError: Total number of attention heads (${architecture.heads}) must be divisible by tensor parallel size (${ranks}).`,
    );
  }
  const maxModelLen = settings.maxModelLen ?? architecture.maxPositions;
  if (maxModelLen > architecture.maxPositions) {
    throw new StartRefused(
      `ValidationError: User-specified max_model_len (${maxModelLen}) is greater than the derived max_model_len ` +
        `(max_position_embeddings=${architecture.maxPositions} or model_max_length=None in model's config.json).`,
    );
  }
  const dtypeBits = settings.dtype === 'float32' || settings.dtype === 'float' ? 32 : 16;
  const weightBits =
    settings.quantization === null
      ? dtypeBits
      : (weightBitsByQuantization[settings.quantization] ?? dtypeBits);
  const weightBytes = (architecture.parameters * weightBits) / 8 / ranks;
  const gpuBytes = settings.gpuMemoryGiB * GiB;
  if (weightBytes + OVERHEAD_BYTES > gpuBytes) {
    throw new StartRefused(
      `torch.OutOfMemoryError: CUDA out of memory. Tried to allocate ${gib(weightBytes / architecture.layers)} GiB. ` +
        `GPU 0 has a total capacity of ${gib(gpuBytes)} GiB of which 0.00 GiB is free.`,
    );
  }
  const maxNumBatchedTokens = settings.maxNumBatchedTokens ?? Math.min(maxModelLen, 2048);
  const activationBytes = (maxNumBatchedTokens * architecture.hidden * 2 * 16) / ranks;
  const kvBytes = gpuBytes * settings.gpuMemoryUtilization - weightBytes - activationBytes - OVERHEAD_BYTES;
  if (kvBytes <= 0) {
    throw new StartRefused(
      'ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.',
    );
  }
  const kvBytesPerToken = kvBytesPerTokenAndRank(architecture, ranks, settings.kvCacheDtype, dtypeBits / 8);
  const neededBytes = maxModelLen * kvBytesPerToken;
  const blocks = Math.floor(kvBytes / (kvBytesPerToken * settings.blockSize));
  if (neededBytes > kvBytes) {
    throw new StartRefused(
      `ValueError: To serve at least one request with the models's max seq len (${maxModelLen}), (${gib(neededBytes)} GiB KV cache ` +
        `is needed, which is larger than the available KV cache memory (${gib(kvBytes)} GiB). Based on the available memory, the ` +
        `estimated maximum model length is ${blocks * settings.blockSize}. Try increasing \`gpu_memory_utilization\` or decreasing ` +
        '`max_model_len` when initializing the engine.',
    );
  }
  return { maxModelLen, maxNumBatchedTokens, weightBits, weightBytes, kvBytesPerToken, blocks };
}

/** 2 (key and value) · layers · KV heads of a rank · head size · bytes of an element; fewer KV heads than ranks are replicated. */
export function kvBytesPerTokenAndRank(
  architecture: Architecture,
  ranks: number,
  kvCacheDtype: string,
  dtypeBytes: number,
): number {
  const elementBytes = kvCacheDtype.startsWith('fp8') ? 1 : dtypeBytes;
  const kvHeads = Math.max(1, Math.ceil(architecture.kvHeads / ranks));
  return 2 * architecture.layers * kvHeads * architecture.headDim * elementBytes;
}

function gib(bytes: number): string {
  return (bytes / GiB).toFixed(2);
}
