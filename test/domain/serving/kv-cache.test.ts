import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkCapacity, requestsOf } from '../../../domain/serving/capacity.ts';
import { gpuKinds, gpuMemoryGiB } from '../../../domain/serving/gpus.ts';
import {
  blockLayout,
  blocksPerRequest,
  cacheTokens,
  kvBytesPerToken,
  longestRequest,
  onOneGpu,
} from '../../../domain/serving/kv-cache.ts';
import type { FlagValue, ModelArchitecture } from '../../../domain/serving/serving.ts';

const GIB = 2 ** 30;

const architecture = (over: Partial<ModelArchitecture>): ModelArchitecture => ({
  layers: 32,
  kvHeads: 8,
  headDim: 128,
  kvBytes: 2,
  weightsGiB: 1,
  ...over,
});

test('bytes a token as DeepSeek published them (arXiv 2505.09343, table 1)', () => {
  const published: [string, Partial<ModelArchitecture>, number][] = [
    ['DeepSeek-V3 (MLA)', { layers: 61, kvHeads: 1, headDim: 288 }, 70_272],
    ['Qwen-2.5 72B (GQA)', { layers: 80, kvHeads: 8, headDim: 128 }, 327_680],
    ['LLaMA-3.1 405B (GQA)', { layers: 126, kvHeads: 8, headDim: 128 }, 516_096],
  ];
  for (const [model, figures, bytes] of published) {
    assert.equal(kvBytesPerToken(architecture(figures)), bytes, model);
  }
});

test('what a running vLLM said: Llama-3-8B on an A100-40GB, 11.12 GiB of cache (vLLM issue 12330)', () => {
  const llama = architecture({ layers: 32, kvHeads: 8, headDim: 128 });
  const blocks = cacheTokens(11.12 * GIB, kvBytesPerToken(llama)) / 16;
  // It said 5691 blocks and 11.12 requests of 8192 tokens; its 11.12 GiB are rounded.
  assert.ok(Math.abs(blocks - 5691) <= 3, String(blocks));
  assert.equal(((5691 * 16) / 8192).toFixed(2), '11.12');
});

test("vLLM's own test of the longest length: 32 layers, 32 heads of 128, fp16, 8 GiB hold 16384 tokens (test_estimate_max_model_len)", () => {
  const layout = blockLayout(architecture({ kvHeads: 32 }), onOneGpu, 16);
  const blocks = Math.floor((8 * GIB) / layout.blockBytes);
  assert.equal(longestRequest(layout, blocks, 1, 32_768, 16_400), 16_384);
  assert.equal(longestRequest(layout, blocks, 1, 32_768, 16_383), 16_368);
});

test("vLLM's own test of concurrency: full, sliding and both (test_get_max_concurrency_for_kv_cache_config)", () => {
  const requests = (layers: number, sliding: number, blocks: number): number => {
    const slidingWindow = sliding === 0 ? undefined : { layers: sliding, tokens: 1024 };
    const layout = blockLayout(architecture({ layers, slidingWindow }), onOneGpu, 16);
    return blocks / blocksPerRequest(layout, 16_384, 1024);
  };
  assert.equal(requests(32, 0, 1536), 1.5);
  assert.equal(requests(32, 32, 129 * 3), 3);
  assert.equal(requests(64, 32, (1024 + 129) * 3), 3);
});

test('a window takes itself, a step of the scheduler and the block in which it begins, and never more than the request', () => {
  const slidingWindow = { layers: 32, tokens: 17 };
  const layout = blockLayout(architecture({ slidingWindow }), onOneGpu, 16);
  assert.equal(blocksPerRequest(layout, 1000, 16), 2 + 1);
  assert.equal(blocksPerRequest(layout, 1000, 17), 3 + 1);
  assert.equal(blocksPerRequest(layout, 16, 1000), 1 + 1);
});

test('layers are dealt into groups as vLLM deals them', () => {
  const groups = (full: number, sliding: number) => {
    const slidingWindow = sliding === 0 ? undefined : { layers: sliding, tokens: 1024 };
    const layout = blockLayout(architecture({ layers: full + sliding, slidingWindow }), onOneGpu, 16);
    return [layout.groups.full, layout.groups.sliding, layout.blockBytes / (2 * 8 * 128 * 2 * 16)];
  };
  // docs/design/hybrid_kv_cache_manager.md: 10 full and 20 sliding; Gemma-3-27b, whose last group is padded.
  assert.deepEqual(groups(10, 20), [1, 2, 10]);
  assert.deepEqual(groups(10, 52), [1, 6, 10]);
  // Nearly as many of each, as gpt-oss with a drafter: one group each, the smaller one padded.
  assert.deepEqual(groups(13, 12), [1, 1, 13]);
  assert.deepEqual(groups(32, 0), [1, 0, 32]);
  assert.deepEqual(groups(0, 32), [0, 1, 32]);
});

const onH100 = (model: ModelArchitecture, flags: Record<string, FlagValue>) =>
  checkCapacity(
    { name: 'm', architecture: model, price: { inputPerMillion: 1, outputPerMillion: 1 } },
    { flags, gpu: { kind: 'H100-80GB', memoryGiB: 79.6, count: 1 }, concurrency: 1, replicas: 1 },
  ).capacity;

test('windows hold more, unless vLLM is told to give every layer every token', () => {
  const gemma = architecture({ layers: 48, slidingWindow: { layers: 40, tokens: 1024 }, weightsGiB: 23 });
  const full = architecture({ layers: 48, weightsGiB: 23 });
  const flags = { 'max-model-len': 131_072, 'max-num-batched-tokens': 2048 };
  const windowed = onH100(gemma, flags);
  assert.ok(windowed.concurrency > 4 * onH100(full, flags).concurrency);
  assert.equal(windowed.tokens, Math.floor(windowed.concurrency * 131_072));
  const disabled = onH100(gemma, { ...flags, 'disable-hybrid-kv-cache-manager': true });
  assert.equal(disabled.concurrency, onH100(full, flags).concurrency);
  // Where every layer has a window there is nothing to make equal.
  const mistral = architecture({ slidingWindow: { layers: 32, tokens: 4096 }, weightsGiB: 14 });
  const uniform = onH100(mistral, { ...flags, 'disable-hybrid-kv-cache-manager': true });
  assert.equal(uniform.concurrency, onH100(mistral, flags).concurrency);
  // A step that nobody has bounded is as large as vLLM makes it on a large GPU.
  const { 'max-num-batched-tokens': _, ...unbounded } = flags;
  const bounded = { ...flags, 'max-num-batched-tokens': 8192 };
  assert.equal(onH100(gemma, unbounded).concurrency, onH100(gemma, bounded).concurrency);
});

const models = fc
  .record({
    layers: fc.integer({ min: 1, max: 100 }),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
    window: fc.integer({ min: 1, max: 8192 }),
  })
  .map(({ layers, share, window }) => {
    const sliding = Math.round(layers * share);
    return architecture({
      layers,
      slidingWindow: sliding === 0 ? undefined : { layers: sliding, tokens: window },
    });
  });

test('the longest request is the longest: it fits, and one block more does not', () => {
  fc.assert(
    fc.property(
      models,
      fc.integer({ min: 0, max: 50_000 }),
      fc.integer({ min: 1, max: 64 }),
      (model, blocks, requests) => {
        const layout = blockLayout(model, onOneGpu, 16);
        const longest = longestRequest(layout, blocks, requests, 2048, 131_072);
        const takes = (tokens: number) => blocksPerRequest(layout, tokens, 2048) * requests;
        if (longest > 0) assert.ok(takes(longest) <= blocks);
        if (longest < 131_072) assert.ok(takes(longest + 16) > blocks);
      },
    ),
  );
});

test('of shorter requests the cache never holds fewer', () => {
  fc.assert(
    fc.property(models, fc.integer({ min: 16, max: 100_000 }), (model, tokens) => {
      const capacity = onH100(model, { 'max-model-len': tokens });
      assert.ok(requestsOf(capacity, Math.ceil(tokens / 2)) >= capacity.concurrency);
    }),
  );
});

test('the memory of a GPU is what its driver says', () => {
  assert.equal(gpuMemoryGiB('A100-80GB'), 80);
  assert.ok(Math.abs(gpuMemoryGiB('h100-80gb') - 79.65) < 0.005);
  assert.throws(() => gpuMemoryGiB('X1'), /nobody has told the memory of the GPU X1/);
  assert.equal(new Set(gpuKinds).size, gpuKinds.length);
});
