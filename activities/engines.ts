import type { Prometheus } from '../adapters/prometheus/prometheus.ts';
import { readEngine } from '../adapters/vllm/engine.ts';
import { gpuMemoryShare } from '../adapters/vllm/gpu-memory.ts';
import { SlipwayError } from '../domain/errors.ts';
import type { ChecklistItem } from '../domain/preflight.ts';
import { shareFlag } from '../domain/serving/flags.ts';
import { type RuntimeSpec, servingName } from '../domain/serving/serving.ts';

/** A GPU that is fuller than this share has no room for a peak. */
const MAX_GPU_MEMORY = 0.95;
/** vLLM's own default of --gpu-memory-utilization. */
const DEFAULT_GPU_MEMORY = 0.9;

/** What running replicas say of themselves; null where none says it. */
export interface Measured {
  /** Requests at full context that the KV cache of the smallest holds at once. */
  cacheConcurrency: number | null;
  /** Share of a GPU's memory that they were told to take at most, 0–1. */
  memoryTaken: number | null;
  /** Share of the fullest GPU's memory that is in use, by its driver, 0–1. */
  memoryUsed: number | null;
}

/** Asks the replicas, and Prometheus for what the GPUs' driver says, where there is one. */
export async function measureEngines(
  digest: string,
  endpoints: readonly string[],
  prometheus: Prometheus | undefined,
): Promise<Measured> {
  const engines = await Promise.all(endpoints.map((endpoint) => readEngine(endpoint)));
  const concurrencies = engines.flatMap((engine) => engine?.cacheConcurrency ?? []);
  const shares = engines.flatMap((engine) => engine?.memoryUtilization ?? []);
  const isRunning = endpoints.length > 0 && prometheus !== undefined;
  return {
    cacheConcurrency: concurrencies.length > 0 ? Math.min(...concurrencies) : null,
    memoryTaken: shares.length > 0 ? Math.max(...shares) : null,
    memoryUsed: isRunning ? await gpuMemoryShare(prometheus, servingName(digest)) : null,
  };
}

/** By vLLM's own figure; null: it has not said one. */
export function cacheItem(
  { concurrency }: RuntimeSpec,
  { cacheConcurrency }: Measured,
): ChecklistItem | null {
  if (cacheConcurrency === null) return null;
  const passed = cacheConcurrency >= concurrency;
  return {
    item: 'KV cache fits',
    passed,
    message: `vLLM holds ${cacheConcurrency.toFixed(1)} requests at full context, ${concurrency} are wanted`,
    remedy: passed
      ? undefined
      : 'Lower --max-model-len or runtime.concurrency, use more GPUs, or --kv-cache-dtype fp8',
  };
}

/** The largest of what the flags ask for, what vLLM says that it took, and what the GPU's driver sees in use. */
export function memoryItem(runtime: RuntimeSpec, { memoryTaken, memoryUsed }: Measured): ChecklistItem {
  const asked = shareFlag(runtime, 'gpu-memory-utilization') ?? DEFAULT_GPU_MEMORY;
  const share = Math.max(asked, memoryTaken ?? 0, memoryUsed ?? 0);
  const source =
    share === memoryUsed ? "by the GPU's driver" : memoryTaken !== null ? 'by vLLM itself' : 'by the flags';
  const passed = share <= MAX_GPU_MEMORY;
  return {
    item: 'GPU memory',
    passed,
    message: `${Math.round(share * 1000) / 10} % ${source}, at most ${MAX_GPU_MEMORY * 100} %`,
    remedy: passed ? undefined : 'Lower --gpu-memory-utilization',
  };
}

/**
 * A serving that is ready may still hold less than its release counts on: what vLLM found out at its start is better than any formula.
 * @throws SlipwayError CAPACITY_EXCEEDED, PREFLIGHT_FAILED
 */
export async function refuseSmallEngines(
  serving: { digest: string; runtime: RuntimeSpec },
  endpoints: readonly string[],
  prometheus: Prometheus | undefined,
): Promise<void> {
  const { digest, runtime } = serving;
  const measured = await measureEngines(digest, endpoints, prometheus);
  const cache = cacheItem(runtime, measured);
  if (cache?.passed === false) throw refused('CAPACITY_EXCEEDED', digest, cache);
  const memory = memoryItem(runtime, measured);
  if (!memory.passed) throw refused('PREFLIGHT_FAILED', digest, memory);
}

function refused(
  code: 'CAPACITY_EXCEEDED' | 'PREFLIGHT_FAILED',
  digest: string,
  item: ChecklistItem,
): SlipwayError {
  return new SlipwayError(code, `${servingName(digest)}: ${item.item}: ${item.message}`, {
    field: 'serving',
    value: servingName(digest),
    remedy: item.remedy,
  });
}
