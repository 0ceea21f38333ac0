import { SlipwayError } from '../errors.ts';
import { countFlag, flagOf, shareFlag } from './flags.ts';
import type { ModelArchitecture, ModelSpec, RuntimeSpec } from './serving.ts';

const GIB = 2 ** 30;

/** vLLM's defaults where a flag is left out. */
const DEFAULT_MEMORY_UTILIZATION = 0.9;
const DEFAULT_BLOCK_TOKENS = 16;

/**
 * What a GPU needs besides weights and cache, in GiB: CUDA context, graphs, peak activations. vLLM measures it at start (it depends
 * on the flags); before the start this is a cautious figure.
 */
export const OVERHEAD_GIB_PER_GPU = 2;

/** How vLLM spreads one replica over GPUs. */
export interface Parallelism {
  tensor: number;
  pipeline: number;
}

export const onOneGpu: Parallelism = { tensor: 1, pipeline: 1 };

/**
 * Bytes of KV cache that one token takes over all GPUs of a replica: 2 (key and value) · layers · KV heads · head dimension · bytes.
 * Tensor parallelism shares the KV heads out; with fewer heads than ranks every rank keeps one, so the whole grows.
 */
export function kvBytesPerToken(
  architecture: ModelArchitecture,
  { tensor, pipeline }: Parallelism = onOneGpu,
): number {
  const headsPerRank = Math.max(1, Math.ceil(architecture.kvHeads / tensor));
  const layersPerRank = Math.ceil(architecture.layers / pipeline);
  const bytesPerRank = 2 * layersPerRank * headsPerRank * architecture.headDim * architecture.kvBytes;
  return bytesPerRank * tensor * pipeline;
}

/** Tokens that a cache of so many bytes holds: whole blocks, as vLLM allocates it. */
export function cacheTokens(
  bytes: number,
  bytesPerToken: number,
  blockTokens = DEFAULT_BLOCK_TOKENS,
): number {
  return Math.max(0, Math.floor(bytes / (bytesPerToken * blockTokens))) * blockTokens;
}

/** What one replica can hold. */
export interface Capacity {
  gpus: number;
  bytesPerToken: number;
  /** Bytes left for the KV cache on all GPUs; negative when not even the weights fit. */
  freeBytes: number;
  /** Tokens that the cache holds. */
  tokens: number;
  /** Longest request in tokens: `--max-model-len`. */
  contextTokens: number;
  /** Requests at full context that the cache holds at once. */
  concurrency: number;
  /** What the runtime asks for: `concurrency` requests at full context. */
  wanted: { requests: number; bytes: number };
}

export type CapacityVerdict =
  | { fits: true; capacity: Capacity; message: string }
  | { fits: false; capacity: Capacity; message: string; field: string; remedy: string };

/**
 * Does the KV cache hold `runtime.concurrency` requests at full context? Figures of one replica. Sliding windows need less than this
 * formula says, so for them it is an upper bound.
 * @throws SlipwayError INPUT_INVALID when a flag cannot be read, or `max-model-len` is missing
 */
export function checkCapacity(model: ModelSpec, runtime: RuntimeSpec): CapacityVerdict {
  const parallelism = {
    tensor: countFlag(runtime, 'tensor-parallel-size') ?? 1,
    pipeline: countFlag(runtime, 'pipeline-parallel-size') ?? 1,
  };
  const gpus = parallelism.tensor * parallelism.pipeline;
  const capacity = capacityOf(model.architecture, runtime, parallelism);
  const refuse = (message: string, field: string, remedy: string): CapacityVerdict => ({
    fits: false,
    capacity,
    message,
    field,
    remedy,
  });

  if (gpus > runtime.gpu.count) {
    return refuse(
      `the flags spread a replica over ${gpus} GPUs, but it is given ${runtime.gpu.count}`,
      'runtime.gpu.count',
      `Give ${gpus} GPUs, or lower --tensor-parallel-size to ${runtime.gpu.count}`,
    );
  }
  const where = `${gpus} × ${runtime.gpu.kind}`;
  if (capacity.freeBytes <= 0) {
    return refuse(
      `the weights (${figure(model.architecture.weightsGiB)} GiB) leave no KV cache on ${where} of ${runtime.gpu.memoryGiB} GiB`,
      'runtime.gpu',
      idle(runtime, gpus) ?? 'Use more or larger GPUs, or quantised weights',
    );
  }
  const sequences = countFlag(runtime, 'max-num-seqs');
  if (sequences !== undefined && sequences < runtime.concurrency) {
    return refuse(
      `--max-num-seqs ${sequences} runs fewer requests at once than the ${runtime.concurrency} wanted`,
      'runtime.flags.max-num-seqs',
      `Raise --max-num-seqs to ${runtime.concurrency}, or lower runtime.concurrency to ${sequences}`,
    );
  }
  const want = `${runtime.concurrency} requests × ${capacity.contextTokens} tokens want ${gib(capacity.wanted.bytes)} GiB of KV cache`;
  const have = `${where} leave ${gib(capacity.freeBytes)} GiB`;
  if (capacity.concurrency < runtime.concurrency) {
    return refuse(
      `${want}, but ${have}: enough for ${floorTo1(capacity.concurrency)} at full context`,
      'runtime.flags.max-model-len',
      remedies(model, runtime, capacity, parallelism),
    );
  }
  return { fits: true, capacity, message: `${want}; ${have}` };
}

/** The same as an exception. @throws SlipwayError CAPACITY_EXCEEDED with the figures and the ways out */
export function assertCapacity(model: ModelSpec, runtime: RuntimeSpec): Capacity {
  const verdict = checkCapacity(model, runtime);
  if (verdict.fits) return verdict.capacity;
  throw new SlipwayError('CAPACITY_EXCEEDED', verdict.message, {
    field: verdict.field,
    value: flagOf(runtime, 'max-model-len'),
    remedy: verdict.remedy,
  });
}

function capacityOf(
  architecture: ModelArchitecture,
  runtime: RuntimeSpec,
  parallelism: Parallelism,
): Capacity {
  const contextTokens = countFlag(runtime, 'max-model-len');
  if (contextTokens === undefined) {
    throw new SlipwayError(
      'INPUT_INVALID',
      'without --max-model-len nobody can say how much KV cache a request takes',
      {
        field: 'runtime.flags.max-model-len',
        remedy: 'Set max-model-len to the longest request in tokens, e.g. 8192',
      },
    );
  }
  const gpus = parallelism.tensor * parallelism.pipeline;
  const utilization = shareFlag(runtime, 'gpu-memory-utilization') ?? DEFAULT_MEMORY_UTILIZATION;
  const blockTokens = countFlag(runtime, 'block-size') ?? DEFAULT_BLOCK_TOKENS;
  const kvBytes = kvBytesOf(architecture, runtime);
  const bytesPerToken = kvBytesPerToken({ ...architecture, kvBytes }, parallelism);
  const freeBytes =
    (gpus * (runtime.gpu.memoryGiB * utilization - OVERHEAD_GIB_PER_GPU) - architecture.weightsGiB) * GIB;
  const tokens = cacheTokens(freeBytes, bytesPerToken, blockTokens);
  return {
    gpus,
    bytesPerToken,
    freeBytes,
    tokens,
    contextTokens,
    concurrency: tokens / (Math.ceil(contextTokens / blockTokens) * blockTokens),
    wanted: { requests: runtime.concurrency, bytes: runtime.concurrency * contextTokens * bytesPerToken },
  };
}

/** `--kv-cache-dtype` decides; left out or `auto`, the model's own type does. */
function kvBytesOf(architecture: ModelArchitecture, runtime: RuntimeSpec): number {
  const dtype = flagOf(runtime, 'kv-cache-dtype');
  if (dtype === undefined || dtype === 'auto') return architecture.kvBytes;
  const bytes = dtypeBytes(String(dtype));
  if (bytes === undefined) {
    throw new SlipwayError('INPUT_INVALID', `unknown --kv-cache-dtype ${String(dtype)}`, {
      field: 'runtime.flags.kv-cache-dtype',
      value: dtype,
      remedy: 'Use auto, bfloat16, float16 or fp8',
    });
  }
  return bytes;
}

/** Bytes of one element of a type as Hugging Face and vLLM name it; undefined for one that is unknown. */
export function dtypeBytes(name: string): number | undefined {
  if (/^fp8(_|$)|^float8/.test(name)) return 1;
  if (name === 'bfloat16' || name === 'float16' || name === 'half') return 2;
  if (name === 'float32' || name === 'float') return 4;
  return undefined;
}

/** Each way out alone would be enough, with its figure. */
function remedies(
  model: ModelSpec,
  runtime: RuntimeSpec,
  capacity: Capacity,
  parallelism: Parallelism,
): string {
  const ways: string[] = [];
  const unused = idle(runtime, capacity.gpus);
  if (unused !== null) ways.push(unused);
  const length =
    Math.floor(capacity.tokens / runtime.concurrency / DEFAULT_BLOCK_TOKENS) * DEFAULT_BLOCK_TOKENS;
  if (length > 0) ways.push(`lower --max-model-len to ${length}`);
  const requests = Math.floor(capacity.concurrency);
  if (requests > 0) ways.push(`hold ${requests} concurrent requests (runtime.concurrency)`);
  for (let tensor = capacity.gpus * 2; tensor <= 64; tensor *= 2) {
    const wider = { ...parallelism, tensor };
    const gpus = tensor * parallelism.pipeline;
    if (capacityOf(model.architecture, runtime, wider).concurrency < runtime.concurrency) continue;
    ways.push(`use ${gpus} GPUs (--tensor-parallel-size ${tensor})`);
    break;
  }
  if (kvBytesOf(model.architecture, runtime) > 1) {
    const flags = { ...runtime.flags, 'kv-cache-dtype': 'fp8' };
    const smaller = capacityOf(model.architecture, { ...runtime, flags }, parallelism);
    ways.push(
      smaller.concurrency >= runtime.concurrency
        ? 'use --kv-cache-dtype fp8'
        : `use --kv-cache-dtype fp8, which halves the cache (not enough alone)`,
    );
  }
  return `One of: ${ways.join('; ')}`;
}

function idle(runtime: RuntimeSpec, gpus: number): string | null {
  return gpus < runtime.gpu.count
    ? `use all ${runtime.gpu.count} GPUs (--tensor-parallel-size ${runtime.gpu.count}), now ${gpus}`
    : null;
}

const gib = (bytes: number): string => figure(bytes / GIB);
const figure = (value: number): string => (Math.round(value * 10) / 10).toString();
const floorTo1 = (value: number): string => (Math.floor(value * 10) / 10).toString();
