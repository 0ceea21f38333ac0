import { SlipwayError } from '../errors.ts';
import { countFlag, flagOf, shareFlag } from './flags.ts';
import {
  type BlockLayout,
  blockLayout,
  blocksPerRequest,
  DEFAULT_BLOCK_TOKENS,
  kvBytesPerToken,
  longestRequest,
  type Parallelism,
} from './kv-cache.ts';
import type { ModelArchitecture, ModelSpec, RuntimeSpec } from './serving.ts';
import { sharesHeads, tensorSizes, WIDEST_TENSOR, widestTensor } from './tensor.ts';

const GIB = 2 ** 30;

/** vLLM's defaults where a flag is left out. */
const DEFAULT_MEMORY_UTILIZATION = 0.9;
/** Of --max-num-batched-tokens on a large GPU; on a small one it is 2048, so that windows take less than is said here. */
const DEFAULT_BATCHED_TOKENS = 8192;

/** From this many tokens on an input counts as long. */
const LONG_TOKENS = 10_000;
/** What it is compared with. */
const SHORT_TOKENS = 8_192;
/**
 * What a GPU needs besides weights and cache, in GiB: CUDA context, graphs, peak activations. vLLM measures it at start (it depends
 * on the flags); before the start this is a cautious figure.
 */
export const OVERHEAD_GIB_PER_GPU = 2;

/** What one replica can hold. */
export interface Capacity {
  gpus: number;
  /** While every layer keeps the token. */
  bytesPerToken: number;
  /** Bytes left for the KV cache on all GPUs; negative when not even the weights fit. */
  freeBytes: number;
  /** Blocks that the cache has, and how they are cut. */
  blocks: number;
  layout: BlockLayout;
  /** Tokens that one step of the scheduler takes at most. */
  batchedTokens: number;
  /** Tokens that the cache holds, of requests at full context when some layers have a window; as vLLM tells it at start. */
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
 * Does the KV cache hold `runtime.concurrency` requests at full context? Figures of one replica.
 * @throws SlipwayError INPUT_INVALID when a flag cannot be read, or `max-model-len` is missing
 */
export function checkCapacity(model: ModelSpec, runtime: RuntimeSpec): CapacityVerdict {
  const parallelism = {
    tensor: countFlag(runtime, 'tensor-parallel-size') ?? 1,
    pipeline: countFlag(runtime, 'pipeline-parallel-size') ?? 1,
  };
  const gpus = parallelism.tensor * parallelism.pipeline;
  const { kvHeads } = model.architecture;
  const capacity = capacityOf(model.architecture, runtime, parallelism);
  const refuse = (message: string, field: string, remedy: string): CapacityVerdict => ({
    fits: false,
    capacity,
    message,
    field,
    remedy,
  });

  if (!sharesHeads(kvHeads, parallelism.tensor)) {
    return refuse(
      `vLLM does not start: ${parallelism.tensor} GPUs cannot share the model's ${kvHeads} KV heads evenly`,
      'runtime.flags.tensor-parallel-size',
      `Use a --tensor-parallel-size of ${tensorSizes(kvHeads, kvHeads).join(', ')}, or a multiple of ${kvHeads}`,
    );
  }
  if (gpus > runtime.gpu.count) {
    const lower = widestTensor(kvHeads, runtime.gpu.count, parallelism);
    const way = lower === null ? '' : `, or lower --tensor-parallel-size to ${lower}`;
    return refuse(
      `the flags spread a replica over ${gpus} GPUs, but it is given ${runtime.gpu.count}`,
      'runtime.gpu.count',
      `Give ${gpus} GPUs${way}`,
    );
  }
  const where = `${gpus} × ${runtime.gpu.kind}`;
  if (capacity.freeBytes <= 0) {
    return refuse(
      `the weights (${figure(model.architecture.weightsGiB)} GiB) leave no KV cache on ${where} of ${figure(runtime.gpu.memoryGiB)} GiB`,
      'runtime.gpu',
      capitalised(idle(runtime, kvHeads, parallelism)) ?? 'Use more or larger GPUs, or quantised weights',
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
  const want = `${requestsWords(runtime.concurrency)} × ${capacity.contextTokens} tokens ${runtime.concurrency === 1 ? 'wants' : 'want'} ${gib(capacity.wanted.bytes)} GiB of KV cache`;
  const have = `${where} leave ${gib(capacity.freeBytes)} GiB`;
  if (capacity.concurrency < runtime.concurrency) {
    return refuse(
      `${want}, but ${have}: enough for ${floorTo1(capacity.concurrency)} at full context`,
      'runtime.flags.max-model-len',
      remedies(model, runtime, capacity, parallelism),
    );
  }
  return { fits: true, capacity, message: `${want}; ${have}${longInputs(capacity)}` };
}

/** Requests of so many tokens that the cache holds at once. */
export function requestsOf({ layout, blocks, batchedTokens }: Capacity, tokens: number): number {
  return blocks / blocksPerRequest(layout, tokens, batchedTokens);
}

/**
 * vLLM gives a request the blocks that it needs, so a long `--max-model-len` costs nothing by itself; but each long request takes the room
 * of several short ones, which then wait. A serving that is to hold many requests at once is therefore better given a bound, and the few
 * long inputs an instance of their own.
 */
function longInputs(capacity: Capacity): string {
  if (capacity.contextTokens <= LONG_TOKENS) return '';
  const times = requestsOf(capacity, SHORT_TOKENS) / capacity.concurrency;
  return `; warning: a request of ${capacity.contextTokens} tokens takes the room of ${floorTo1(times)} of ${SHORT_TOKENS}: long inputs want an instance of their own`;
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
  const batchedTokens = countFlag(runtime, 'max-num-batched-tokens') ?? DEFAULT_BATCHED_TOKENS;
  const cached = cachedArchitecture(architecture, runtime);
  const layout = blockLayout(cached, parallelism, blockTokens);
  const freeBytes =
    (gpus * (runtime.gpu.memoryGiB * utilization - OVERHEAD_GIB_PER_GPU) - architecture.weightsGiB) * GIB;
  const blocks = Math.max(0, Math.floor(freeBytes / layout.blockBytes));
  const each = blocksPerRequest(layout, contextTokens, batchedTokens);
  const concurrency = blocks / each;
  const windows = layout.groups.sliding > 0;
  return {
    gpus,
    bytesPerToken: kvBytesPerToken(cached, parallelism),
    freeBytes,
    blocks,
    layout,
    batchedTokens,
    tokens: windows ? Math.floor(concurrency * contextTokens) : blocks * blockTokens,
    contextTokens,
    concurrency,
    wanted: { requests: runtime.concurrency, bytes: runtime.concurrency * each * layout.blockBytes },
  };
}

/** The architecture as this runtime caches it: in its type, and without windows where vLLM is told to give every layer every token. */
function cachedArchitecture(architecture: ModelArchitecture, runtime: RuntimeSpec): ModelArchitecture {
  const kvBytes = kvBytesOf(architecture, runtime);
  const uniform = flagOf(runtime, 'disable-hybrid-kv-cache-manager') === true;
  const mixed = (architecture.slidingWindow?.layers ?? 0) < architecture.layers;
  return { ...architecture, kvBytes, ...(uniform && mixed ? { slidingWindow: undefined } : {}) };
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
  const { kvHeads } = model.architecture;
  const unused = idle(runtime, kvHeads, parallelism);
  if (unused !== null) ways.push(unused);
  const { layout, blocks, batchedTokens, contextTokens } = capacity;
  const length = longestRequest(layout, blocks, runtime.concurrency, batchedTokens, contextTokens);
  const requests = Math.floor(capacity.concurrency);
  if (length > 0) {
    const longer =
      requests > 0
        ? `, and give longer inputs an instance of their own, which holds ${requests} of ${contextTokens} at once`
        : '';
    ways.push(`lower --max-model-len to ${length}${longer}`);
  }
  if (requests > 0)
    ways.push(`hold ${requests} concurrent ${requests === 1 ? 'request' : 'requests'} (runtime.concurrency)`);
  for (let tensor = capacity.gpus * 2; tensor <= WIDEST_TENSOR; tensor *= 2) {
    const wider = { ...parallelism, tensor };
    const gpus = tensor * parallelism.pipeline;
    if (!sharesHeads(kvHeads, tensor)) continue;
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

/** The way to use GPUs that are given and idle; null: there are none, or the model's heads cannot be shared among more. */
function idle(runtime: RuntimeSpec, kvHeads: number, parallelism: Parallelism): string | null {
  const { tensor, pipeline } = parallelism;
  const wider = widestTensor(kvHeads, runtime.gpu.count, parallelism);
  if (wider === null || wider <= tensor) return null;
  const [used, given] = [wider * pipeline, runtime.gpu.count];
  return `use ${used === given ? `all ${given}` : `${used} of the ${given}`} GPUs (--tensor-parallel-size ${wider}), now ${tensor * pipeline}`;
}

const capitalised = (words: string | null): string | null =>
  words && words.charAt(0).toUpperCase() + words.slice(1);
const requestsWords = (count: number): string => `${count} ${count === 1 ? 'request' : 'requests'}`;
const gib = (bytes: number): string => figure(bytes / GIB);
const figure = (value: number): string => (Math.round(value * 10) / 10).toString();
const floorTo1 = (value: number): string => (Math.floor(value * 10) / 10).toString();
