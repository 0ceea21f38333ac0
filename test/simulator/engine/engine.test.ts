import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Engine, type EngineSettings, type Generation } from '../../../simulator/engine/engine.ts';
import { EngineMetrics } from '../../../simulator/engine/engine-metrics.ts';
import { VirtualClock } from './virtual-clock.ts';

const plan = {
  maxModelLen: 8192,
  maxNumBatchedTokens: 2048,
  weightBits: 16,
  weightBytes: 16e9,
  kvBytesPerToken: 131_072,
  blocks: 20_000,
};

function rig(settings: Partial<EngineSettings> = {}) {
  const clock = new VirtualClock();
  const metrics = new EngineMetrics('m', 8192, {});
  const engine = new Engine(
    {
      plan,
      blockSize: 16,
      maxNumSeqs: 256,
      prefixCaching: false,
      chunkedPrefill: true,
      parametersPerRank: 8e9,
      speed: 1,
      ...settings,
    },
    metrics,
    clock,
  );
  const value = (name: string, label = '') => {
    const line = metrics
      .text()
      .split('\n')
      .find((one) => one.startsWith(`${name}{`) && one.includes(label));
    return Number(line?.split(' ').at(-1) ?? Number.NaN);
  };
  let serial = 0;
  const send = (promptTokens: number, outputTokens: number, prompt = `prompt ${serial++}`) => {
    const seen = { first: Number.NaN, last: Number.NaN, tokens: 0, gaps: [] as number[], cached: -1 };
    const arrived = clock.now();
    let before = Number.NaN;
    const generation: Generation = {
      prompt,
      promptTokens,
      outputTokens,
      finish: 'stop',
      maxTokens: null,
      onTokens: (from, to) => {
        assert.equal(from, seen.tokens, 'tokens come in order and once');
        seen.tokens = to;
        if (from === 0) seen.first = clock.now() - arrived;
        else seen.gaps.push(clock.now() - before);
        before = clock.now();
      },
      onFinish: (cached) => {
        assert.ok(Number.isNaN(seen.last), 'finishes once');
        seen.last = clock.now() - arrived;
        seen.cached = cached;
      },
    };
    return { ...engine.add(generation), seen };
  };
  return { clock, engine, send, value };
}

const mean = (numbers: number[]) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;

describe('engine', () => {
  it('gives out every token of every request once and in order', () => {
    const { clock, send, value } = rig();
    const requests = Array.from({ length: 40 }, (_, index) => send(100 + index, 5 + (index % 7)));
    clock.advance(60_000);
    for (const [index, { seen }] of requests.entries()) assert.equal(seen.tokens, 5 + (index % 7));
    assert.equal(value('vllm:request_success_total', 'stop'), 40);
    assert.equal(value('vllm:num_requests_running'), 0);
    assert.equal(value('vllm:kv_cache_usage_perc'), 0);
  });

  it('answers a short prompt within a tenth of a second and some ten milliseconds a token', () => {
    const { clock, send } = rig();
    const { seen } = send(300, 20);
    clock.advance(10_000);
    assert.ok(seen.first > 20 && seen.first < 100, `TTFT ${seen.first}`);
    assert.ok(mean(seen.gaps) > 5 && mean(seen.gaps) < 20, `ITL ${mean(seen.gaps)}`);
  });

  it('takes longer to the first token for a longer prompt', () => {
    const firsts = [100, 1000, 4000].map((promptTokens) => {
      const { clock, send } = rig();
      const { seen } = send(promptTokens, 3);
      clock.advance(60_000);
      return seen.first;
    });
    assert.deepEqual(
      firsts,
      [...firsts].sort((a, b) => a - b),
    );
    assert.ok((firsts[2] ?? 0) > 5 * (firsts[0] ?? 0));
  });

  it('takes longer to the first token and between tokens under load', () => {
    const under = (load: number) => {
      const { clock, send } = rig();
      const requests = Array.from({ length: load }, () => send(500, 30));
      clock.advance(600_000);
      return {
        first: mean(requests.map(({ seen }) => seen.first)),
        gap: mean(requests.flatMap(({ seen }) => seen.gaps)),
      };
    };
    const alone = under(1);
    const busy = under(50);
    const crowded = under(200);
    assert.ok(alone.first < busy.first && busy.first < crowded.first);
    assert.ok(alone.gap < busy.gap && busy.gap < crowded.gap);
  });

  it('runs no more requests at once than max-num-seqs and lets the others wait', () => {
    const { clock, send, value } = rig({ maxNumSeqs: 4 });
    const requests = Array.from({ length: 10 }, () => send(50, 50));
    clock.advance(100);
    assert.equal(value('vllm:num_requests_running'), 4);
    assert.equal(value('vllm:num_requests_waiting'), 6);
    clock.advance(60_000);
    assert.ok(requests.every(({ seen }) => seen.tokens === 50));
  });

  it('preempts the request that came last when the cache is full, and completes all of them', () => {
    const { clock, send, value } = rig({ plan: { ...plan, blocks: 40 } });
    const requests = Array.from({ length: 4 }, () => send(128, 200));
    clock.advance(120_000);
    assert.ok(value('vllm:num_preemptions_total') > 0);
    assert.ok(requests.every(({ seen }) => seen.tokens === 200));
    assert.ok((requests[0]?.seen.last ?? 0) < (requests[3]?.seen.last ?? 0));
    assert.equal(value('vllm:kv_cache_usage_perc'), 0);
  });

  it('fills the cache as answers grow', () => {
    const { clock, send, value } = rig({ plan: { ...plan, blocks: 100 } });
    send(160, 400);
    clock.advance(200);
    const early = value('vllm:kv_cache_usage_perc');
    clock.advance(2000);
    assert.ok(early >= 0.1 && value('vllm:kv_cache_usage_perc') > early);
  });

  it('stops at once and frees the cache when a request is aborted, waiting or running', () => {
    const { clock, send, value } = rig({ maxNumSeqs: 1 });
    const running = send(500, 1000);
    const waiting = send(500, 1000);
    clock.advance(200);
    const made = running.seen.tokens;
    assert.ok(made > 0);
    running.abort();
    running.abort();
    waiting.abort();
    assert.equal(value('vllm:num_requests_running'), 0);
    assert.equal(value('vllm:num_requests_waiting'), 0);
    assert.equal(value('vllm:kv_cache_usage_perc'), 0);
    clock.advance(10_000);
    assert.equal(running.seen.tokens, made);
    assert.equal(waiting.seen.tokens, 0);
    assert.ok(Number.isNaN(running.seen.last));
    assert.equal(value('vllm:request_success_total', 'abort'), 2);
  });

  it('computes a prompt that it has seen much faster, if prefix caching is on', () => {
    const prompt = 'The same long beginning of every prompt. '.repeat(200);
    for (const prefixCaching of [true, false]) {
      const { clock, send, value } = rig({ prefixCaching });
      const cold = send(2000, 2, prompt);
      clock.advance(10_000);
      const warm = send(2000, 2, prompt);
      clock.advance(10_000);
      if (prefixCaching) {
        assert.ok(warm.seen.first < cold.seen.first / 3);
        assert.ok(warm.seen.cached > 1800 && warm.seen.cached < 2000);
        assert.equal(value('vllm:prefix_cache_queries_total'), 4000);
      } else {
        assert.ok(Math.abs(warm.seen.first - cold.seen.first) < 1e-6);
        assert.equal(warm.seen.cached, 0);
      }
    }
  });

  it('computes a prompt longer than a step in chunks, between which others get their tokens', () => {
    const { clock, send } = rig({ plan: { ...plan, maxNumBatchedTokens: 512 } });
    const short = send(50, 200);
    clock.advance(200);
    const long = send(8000, 2);
    const before = short.seen.tokens;
    while (Number.isNaN(long.seen.first)) clock.advance(1);
    assert.ok(short.seen.tokens - before >= 10);
  });

  it('is twice as fast at twice the speed', () => {
    const last = [1, 2].map((speed) => {
      const { clock, send } = rig({ speed });
      const { seen } = send(500, 50);
      clock.advance(60_000);
      return seen.last;
    });
    assert.ok(Math.abs((last[0] ?? 0) - 2 * (last[1] ?? 0)) < 1);
  });

  it('sleeps without requests and wakes for the next one', () => {
    const { clock, send } = rig();
    const first = send(10, 2);
    clock.advance(60_000);
    const second = send(10, 2);
    clock.advance(60_000);
    assert.ok(Math.abs(first.seen.last - second.seen.last) < 1e-6);
  });
});
