import type { Clock } from './clock.ts';
import type { EngineMetrics } from './engine-metrics.ts';
import type { MemoryPlan } from './memory.ts';
import { PrefixCache } from './prefix-cache.ts';
import { ARRIVAL_MS, stepMilliseconds } from './timing.ts';

export type FinishReason = 'stop' | 'length' | 'abort';

/** What the engine is to do: it "computes" the prompt, then gives out the answer's tokens one a step. */
export interface Generation {
  prompt: string;
  promptTokens: number;
  outputTokens: number;
  finish: 'stop' | 'length';
  maxTokens: number | null;
  /** Called in the step that made the tokens `from` (inclusive) to `to` (exclusive). */
  onTokens(from: number, to: number): void;
  /** Called once, after the last onTokens, and not after an abort. */
  onFinish(cachedTokens: number): void;
}

export interface EngineSettings {
  plan: MemoryPlan;
  blockSize: number;
  maxNumSeqs: number;
  prefixCaching: boolean;
  chunkedPrefill: boolean;
  parametersPerRank: number;
  /** 2 runs everything twice as fast. */
  speed: number;
}

interface Running {
  generation: Generation;
  arrived: number;
  scheduled: number | null;
  firstToken: number | null;
  lastToken: number;
  /** Tokens, of prompt and output, whose keys and values are in the cache. */
  computed: number;
  /** Output tokens made so far. */
  made: number;
  cached: number;
  /** Blocks that only this request holds. */
  blocks: number;
  done: boolean;
}

/** A handle on an admitted request. */
export interface Admitted {
  /** Frees the request's blocks at once; without effect when it is finished. */
  abort(): void;
}

/**
 * vLLM's continuous batching: every step first serves the running requests (one token each, or the next chunk of a prompt), then admits
 * waiting ones while tokens, sequences and blocks last. When the blocks run out, the request that came last is preempted and computes
 * again later. Steps take the time that `timing.ts` gives; between them the engine sleeps, and without requests it does nothing.
 */
export class Engine {
  readonly #settings: EngineSettings;
  readonly #metrics: EngineMetrics;
  readonly #clock: Clock;
  readonly #prefixes: PrefixCache;
  #waiting: Running[] = [];
  #running: Running[] = [];
  #freeBlocks: number;
  /** Cancels the wake-up that is set; null: none is. */
  #asleep: (() => void) | null = null;
  #inStep: { batch: Map<Running, number>; ends: number } | null = null;

  constructor(settings: EngineSettings, metrics: EngineMetrics, clock: Clock) {
    this.#settings = settings;
    this.#metrics = metrics;
    this.#clock = clock;
    this.#freeBlocks = settings.plan.blocks;
    this.#prefixes = new PrefixCache(settings.plan.blocks * settings.blockSize);
  }

  add(generation: Generation): Admitted {
    const now = this.#clock.now();
    let cached = 0;
    if (this.#settings.prefixCaching) {
      const { blockSize } = this.#settings;
      const hit = this.#prefixes.hit(generation.prompt) * generation.promptTokens;
      // The last token is always computed: its result is the first output token.
      cached = Math.floor(Math.min(hit, generation.promptTokens - 1) / blockSize) * blockSize;
      this.#metrics.prefixCache(generation.promptTokens, cached);
    }
    const request: Running = {
      generation,
      arrived: now,
      scheduled: null,
      firstToken: null,
      lastToken: now,
      computed: cached,
      made: 0,
      cached: cached,
      blocks: 0,
      done: false,
    };
    this.#waiting.push(request);
    this.#report();
    if (this.#inStep === null && this.#asleep === null) {
      this.#sleepUntil(now + ARRIVAL_MS / this.#settings.speed);
    }
    return { abort: () => this.#abort(request) };
  }

  /** Aborts everything; for the end of the process. */
  stop(): void {
    this.#asleep?.();
    this.#asleep = null;
    for (const request of [...this.#running, ...this.#waiting]) this.#abort(request);
  }

  #sleepUntil(due: number): void {
    this.#asleep?.();
    this.#asleep = this.#clock.after(Math.max(0, due - this.#clock.now()), () => {
      this.#asleep = null;
      this.#run();
    });
  }

  /** Ends the steps that are due and starts the next; a process that was kept waiting catches up by at most a few steps. */
  #run(): void {
    const now = this.#clock.now();
    for (let steps = 0; ; steps++) {
      if (this.#inStep !== null) {
        if (this.#inStep.ends > now) break;
        this.#endStep(this.#inStep, now);
      }
      const begins = steps < 8 && this.#inStep !== null ? this.#inStep.ends : now;
      this.#inStep = this.#beginStep(begins);
      if (this.#inStep === null) break;
    }
    this.#report();
    if (this.#inStep !== null) this.#sleepUntil(this.#inStep.ends);
  }

  #beginStep(started: number): { batch: Map<Running, number>; ends: number } | null {
    const { plan, maxNumSeqs, chunkedPrefill } = this.#settings;
    let budget = plan.maxNumBatchedTokens;
    let preempted = false;
    const batch = new Map<Running, number>();
    for (const request of [...this.#running]) {
      if (budget === 0) break;
      if (!this.#running.includes(request)) continue;
      const tokens = Math.min(this.#left(request), budget);
      while (!this.#hold(request, tokens)) {
        const last = this.#running.at(-1);
        if (last === undefined) break;
        budget += batch.get(last) ?? 0;
        this.#preempt(last, batch);
        preempted = true;
        if (last === request) break;
      }
      if (!this.#running.includes(request)) continue;
      batch.set(request, tokens);
      budget -= tokens;
    }
    while (!preempted && budget > 0 && this.#running.length < maxNumSeqs) {
      const request = this.#waiting[0];
      if (request === undefined) break;
      const left = this.#left(request);
      if (left > budget && !chunkedPrefill && batch.size > 0) break;
      const tokens = Math.min(left, budget);
      if (!this.#hold(request, tokens)) break;
      this.#waiting.shift();
      this.#running.push(request);
      request.scheduled ??= started;
      batch.set(request, tokens);
      budget -= tokens;
    }
    if (batch.size === 0) return null;
    return { batch, ends: started + this.#duration(batch) };
  }

  #duration(batch: Map<Running, number>): number {
    let prefillTokens = 0;
    let decodingSequences = 0;
    let contextTokens = 0;
    for (const [request, tokens] of batch) {
      contextTokens += request.computed;
      if (request.made > 0 && tokens === 1) decodingSequences += 1;
      else prefillTokens += tokens;
    }
    const load = { prefillTokens, decodingSequences, contextTokens };
    return (
      stepMilliseconds(load, this.#settings.plan, this.#settings.parametersPerRank) / this.#settings.speed
    );
  }

  #endStep(step: { batch: Map<Running, number> }, now: number): void {
    let scheduledTokens = 0;
    let madeTokens = 0;
    for (const [request, tokens] of step.batch) {
      if (request.done) continue;
      request.computed += tokens;
      scheduledTokens += tokens;
      if (this.#left(request) > 0) continue;
      request.made += 1;
      madeTokens += 1;
      if (request.firstToken === null) {
        request.firstToken = now;
        this.#metrics.firstToken((now - request.arrived) / 1000, request.generation.promptTokens);
      } else {
        this.#metrics.tokenGap((now - request.lastToken) / 1000);
      }
      request.lastToken = now;
      request.generation.onTokens(request.made - 1, request.made);
      if (request.made >= request.generation.outputTokens) this.#finish(request, now);
    }
    this.#metrics.step(scheduledTokens, madeTokens);
  }

  /** Tokens to compute before the next output token: the rest of the prompt, or the token made last. */
  #left(request: Running): number {
    return request.generation.promptTokens + request.made - request.computed;
  }

  #hold(request: Running, tokens: number): boolean {
    const own = request.computed + tokens - request.cached;
    const needed = Math.ceil(own / this.#settings.blockSize) - request.blocks;
    if (needed > this.#freeBlocks) return false;
    if (needed > 0) {
      this.#freeBlocks -= needed;
      request.blocks += needed;
    }
    return true;
  }

  #release(request: Running): void {
    this.#freeBlocks += request.blocks;
    request.blocks = 0;
  }

  #preempt(request: Running, batch: Map<Running, number>): void {
    this.#release(request);
    request.computed = 0;
    request.cached = 0;
    batch.delete(request);
    this.#running.splice(this.#running.indexOf(request), 1);
    this.#waiting.unshift(request);
    this.#metrics.preempted();
  }

  #finish(request: Running, now: number): void {
    request.done = true;
    this.#release(request);
    this.#running.splice(this.#running.indexOf(request), 1);
    const { generation } = request;
    const scheduled = request.scheduled ?? now;
    this.#metrics.finished(generation.finish, {
      promptTokens: generation.promptTokens,
      outputTokens: request.made,
      maxTokens: generation.maxTokens,
      endToEnd: (now - request.arrived) / 1000,
      queued: (scheduled - request.arrived) / 1000,
      prefill: ((request.firstToken ?? now) - scheduled) / 1000,
      decode: (now - (request.firstToken ?? now)) / 1000,
    });
    generation.onFinish(request.cached);
  }

  #abort(request: Running): void {
    if (request.done) return;
    request.done = true;
    this.#release(request);
    this.#running = this.#running.filter((other) => other !== request);
    this.#waiting = this.#waiting.filter((other) => other !== request);
    this.#metrics.aborted();
    this.#report();
  }

  #report(): void {
    const used = 1 - this.#freeBlocks / this.#settings.plan.blocks;
    this.#metrics.load(this.#running.length, this.#waiting.length, used);
  }
}
