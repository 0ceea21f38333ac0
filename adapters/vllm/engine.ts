const TIMEOUT_MS = 2_000;

/** What a running vLLM says of itself on /metrics; null where it does not say. */
export interface EngineFigures {
  /** Requests in the engine: in its batch, in its queue, and together. */
  running: number | null;
  waiting: number | null;
  inFlight: number | null;
  /** Share of the KV cache in use, 0–1; of several engines the fullest. */
  cacheUsage: number | null;
  /** Tokens that the KV cache holds. */
  cacheTokens: number | null;
  /** Requests at full context that the cache holds at once. */
  cacheConcurrency: number | null;
  /** Share of the GPU's memory that it was told to take, 0–1. */
  memoryUtilization: number | null;
}

/** Does the endpoint answer its health check now? */
export async function isHealthy(endpoint: string, timeoutMs = TIMEOUT_MS): Promise<boolean> {
  try {
    const response = await fetch(`${endpoint}/health`, { signal: AbortSignal.timeout(timeoutMs) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

/** @returns null when the endpoint does not answer */
export async function readEngine(endpoint: string, timeoutMs = TIMEOUT_MS): Promise<EngineFigures | null> {
  try {
    const response = await fetch(`${endpoint}/metrics`, { signal: AbortSignal.timeout(timeoutMs) });
    if (response.ok) return parseEngine(await response.text());
    await response.body?.cancel();
    return null;
  } catch {
    return null;
  }
}

/**
 * Reads Prometheus' text format as vLLM ≥ 0.20 writes it: gauges of all engines are added up, `cache_config_info` carries its figures in
 * its labels. What vLLM found out at start is better than any formula.
 */
export function parseEngine(text: string): EngineFigures {
  const samples = text.split('\n').flatMap((line) => sampleOf(line) ?? []);
  const valuesOf = (name: string): number[] =>
    samples.flatMap((sample) => (sample.name === name && Number.isFinite(sample.value) ? sample.value : []));
  const sum = (name: string): number | null => {
    const values = valuesOf(name);
    return values.length === 0 ? null : values.reduce((a, b) => a + b, 0);
  };
  const running = sum('vllm:num_requests_running');
  const waiting = sum('vllm:num_requests_waiting');
  const usages = valuesOf('vllm:kv_cache_usage_perc');
  const config = samples.find(({ name }) => name === 'vllm:cache_config_info')?.labels ?? {};
  const blocks = numeric(config.num_gpu_blocks);
  const blockTokens = numeric(config.block_size);
  return {
    running,
    waiting,
    inFlight: running === null ? null : running + (waiting ?? 0),
    cacheUsage: usages.length === 0 ? null : Math.max(...usages),
    cacheTokens:
      numeric(config.kv_cache_size_tokens) ??
      (blocks === null || blockTokens === null ? null : blocks * blockTokens),
    cacheConcurrency: numeric(config.kv_cache_max_concurrency),
    memoryUtilization: numeric(config.gpu_memory_utilization),
  };
}

interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

function sampleOf(line: string): Sample | null {
  const [, name, labels = '', value] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/.exec(line) ?? [];
  if (name === undefined || value === undefined) return null;
  const pairs = [...labels.matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)];
  return {
    name,
    labels: Object.fromEntries(pairs.map(([, key = '', text = '']) => [key, text])),
    value: Number(value),
  };
}

function numeric(text: string | undefined): number | null {
  if (text === undefined || text.trim() === '') return null;
  const value = Number(text);
  return Number.isFinite(value) ? value : null;
}
