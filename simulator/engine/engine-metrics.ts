import type { FinishReason } from './engine.ts';
import { Histogram, labelText } from './prometheus.ts';

/** A request that ended by itself; all times in seconds. */
export interface FinishedRequest {
  promptTokens: number;
  outputTokens: number;
  maxTokens: number | null;
  endToEnd: number;
  queued: number;
  prefill: number;
  decode: number;
}

const ttftBounds = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640,
  2560,
];
const gapBounds = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const latencyBounds = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
];
const iterationBounds = [1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
const finishReasons: readonly FinishReason[] = ['stop', 'length', 'abort'];

/** The metrics of vLLM's engine, under the names that vLLM has since 0.20. */
export class EngineMetrics {
  readonly #labels: string;
  readonly #modelName: string;
  readonly #cacheConfig: Record<string, string>;
  #running = 0;
  #waiting = 0;
  #kvCacheUsage = 0;
  readonly #counters = {
    preemptions: 0,
    promptTokens: 0,
    generationTokens: 0,
    prefixQueries: 0,
    prefixHits: 0,
  };
  readonly #finished: Record<FinishReason, number> = { stop: 0, length: 0, abort: 0 };
  readonly #ttft = new Histogram(ttftBounds);
  readonly #gaps = new Histogram(gapBounds);
  readonly #iteration = new Histogram(iterationBounds);
  readonly #endToEnd = new Histogram(latencyBounds);
  readonly #queued = new Histogram(latencyBounds);
  readonly #inference = new Histogram(latencyBounds);
  readonly #prefill = new Histogram(latencyBounds);
  readonly #decode = new Histogram(latencyBounds);
  readonly #promptLength: Histogram;
  readonly #outputLength: Histogram;
  readonly #maxTokens: Histogram;

  constructor(modelName: string, maxModelLen: number, cacheConfig: Record<string, string>) {
    this.#modelName = modelName;
    this.#labels = labelText({ model_name: modelName, engine: '0' });
    this.#cacheConfig = cacheConfig;
    const lengths = oneTwoFive(maxModelLen);
    this.#promptLength = new Histogram(lengths);
    this.#outputLength = new Histogram(lengths);
    this.#maxTokens = new Histogram(lengths);
  }

  load(running: number, waiting: number, kvCacheUsage: number): void {
    this.#running = running;
    this.#waiting = waiting;
    this.#kvCacheUsage = kvCacheUsage;
  }

  prefixCache(queried: number, hit: number): void {
    this.#counters.prefixQueries += queried;
    this.#counters.prefixHits += hit;
  }

  firstToken(seconds: number, promptTokens: number): void {
    this.#ttft.observe(seconds);
    this.#counters.promptTokens += promptTokens;
  }

  tokenGap(seconds: number): void {
    this.#gaps.observe(seconds);
  }

  step(scheduledTokens: number, madeTokens: number): void {
    this.#iteration.observe(scheduledTokens);
    this.#counters.generationTokens += madeTokens;
  }

  preempted(): void {
    this.#counters.preemptions += 1;
  }

  aborted(): void {
    this.#finished.abort += 1;
  }

  finished(reason: FinishReason, request: FinishedRequest): void {
    this.#finished[reason] += 1;
    this.#endToEnd.observe(request.endToEnd);
    this.#queued.observe(request.queued);
    this.#prefill.observe(request.prefill);
    this.#decode.observe(request.decode);
    this.#inference.observe(request.prefill + request.decode);
    this.#promptLength.observe(request.promptTokens);
    this.#outputLength.observe(request.outputTokens);
    if (request.maxTokens !== null) this.#maxTokens.observe(request.maxTokens);
  }

  /** Prometheus' text exposition format 0.0.4. */
  text(): string {
    const out: string[] = [];
    const family = (type: string, name: string, help: string, lines: string[]) => {
      out.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines);
    };
    const gauge = (name: string, help: string, value: number) =>
      family('gauge', name, help, [`${name}{${this.#labels}} ${value}`]);
    const counter = (name: string, help: string, value: number) =>
      family('counter', name, help, [`${name}{${this.#labels}} ${value}`]);
    const histogram = (name: string, help: string, value: Histogram) =>
      family('histogram', name, help, value.lines(name, this.#labels));
    const info = labelText({ ...this.#cacheConfig, engine: '0' });
    family('gauge', 'vllm:cache_config_info', 'Information of the LLMEngine CacheConfig', [
      `vllm:cache_config_info{${info}} 1.0`,
    ]);
    gauge('vllm:num_requests_running', 'Number of requests in model execution batches.', this.#running);
    gauge('vllm:num_requests_waiting', 'Number of requests waiting to be processed.', this.#waiting);
    gauge('vllm:kv_cache_usage_perc', 'KV-cache usage. 1 means 100 percent usage.', this.#kvCacheUsage);
    counter(
      'vllm:num_preemptions_total',
      'Cumulative number of preemption from the engine.',
      this.#counters.preemptions,
    );
    counter('vllm:prompt_tokens_total', 'Number of prefill tokens processed.', this.#counters.promptTokens);
    counter(
      'vllm:generation_tokens_total',
      'Number of generation tokens processed.',
      this.#counters.generationTokens,
    );
    counter(
      'vllm:prefix_cache_queries_total',
      'Prefix cache queries, in terms of number of queried tokens.',
      this.#counters.prefixQueries,
    );
    counter(
      'vllm:prefix_cache_hits_total',
      'Prefix cache hits, in terms of number of cached tokens.',
      this.#counters.prefixHits,
    );
    family(
      'counter',
      'vllm:request_success_total',
      'Count of successfully processed requests.',
      finishReasons.map((reason) => {
        const labels = labelText({ model_name: this.#modelName, engine: '0', finished_reason: reason });
        return `vllm:request_success_total{${labels}} ${this.#finished[reason]}`;
      }),
    );
    histogram(
      'vllm:iteration_tokens_total',
      'Histogram of number of tokens per engine_step.',
      this.#iteration,
    );
    histogram('vllm:time_to_first_token_seconds', 'Histogram of time to first token in seconds.', this.#ttft);
    histogram('vllm:inter_token_latency_seconds', 'Histogram of inter-token latency in seconds.', this.#gaps);
    histogram(
      'vllm:e2e_request_latency_seconds',
      'Histogram of e2e request latency in seconds.',
      this.#endToEnd,
    );
    histogram(
      'vllm:request_queue_time_seconds',
      'Histogram of time spent in WAITING phase for request.',
      this.#queued,
    );
    histogram(
      'vllm:request_inference_time_seconds',
      'Histogram of time spent in RUNNING phase for request.',
      this.#inference,
    );
    histogram(
      'vllm:request_prefill_time_seconds',
      'Histogram of time spent in PREFILL phase for request.',
      this.#prefill,
    );
    histogram(
      'vllm:request_decode_time_seconds',
      'Histogram of time spent in DECODE phase for request.',
      this.#decode,
    );
    histogram('vllm:request_prompt_tokens', 'Number of prefill tokens processed.', this.#promptLength);
    histogram('vllm:request_generation_tokens', 'Number of generation tokens processed.', this.#outputLength);
    histogram(
      'vllm:request_params_max_tokens',
      'Histogram of the max_tokens request parameter.',
      this.#maxTokens,
    );
    return `${out.join('\n')}\n`;
  }
}

/** 1, 2, 5, 10, 20, 50, … up to `most`. */
function oneTwoFive(most: number): number[] {
  const bounds: number[] = [];
  for (let power = 1; power <= most; power *= 10) {
    for (const factor of [1, 2, 5]) if (factor * power <= most) bounds.push(factor * power);
  }
  return bounds;
}
