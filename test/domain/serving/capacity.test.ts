import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SlipwayError } from '../../../domain/errors.ts';
import { readArchitecture } from '../../../domain/serving/architecture.ts';
import { assertCapacity, checkCapacity } from '../../../domain/serving/capacity.ts';
import { cacheTokens, kvBytesPerToken } from '../../../domain/serving/kv-cache.ts';
import type {
  FlagValue,
  ModelArchitecture,
  ModelSpec,
  RuntimeSpec,
} from '../../../domain/serving/serving.ts';

const KIB = 1024;
const GIB = 2 ** 30;

const llama70b: ModelArchitecture = { layers: 80, kvHeads: 8, headDim: 128, kvBytes: 2, weightsGiB: 131.5 };
const llama8b: ModelArchitecture = { layers: 32, kvHeads: 8, headDim: 128, kvBytes: 2, weightsGiB: 15 };

const model = (architecture: ModelArchitecture): ModelSpec => ({
  name: 'meta-llama/Llama',
  architecture,
  price: { inputPerMillion: 1, outputPerMillion: 2 },
});

const onA100s = (flags: Record<string, FlagValue>, concurrency: number, count = 4): RuntimeSpec => ({
  flags: { 'tensor-parallel-size': 4, 'gpu-memory-utilization': 0.9, ...flags },
  gpu: { kind: 'A100-80GB', memoryGiB: 80, count },
  concurrency,
  replicas: 1,
});

/** Bytes asked for, in GiB, and whether they fit. */
const verdictOf = (flags: Record<string, FlagValue>, concurrency: number) => {
  const verdict = checkCapacity(model(llama70b), onA100s(flags, concurrency));
  return { fits: verdict.fits, wantedGiB: verdict.capacity.wanted.bytes / GIB, verdict };
};

test('a token takes what the published formula says', () => {
  assert.equal(kvBytesPerToken(llama70b), 320 * KIB);
  assert.equal(kvBytesPerToken(llama8b), 128 * KIB);
  const tiny = { layers: 2, kvHeads: 2, headDim: 32, kvBytes: 2, weightsGiB: 0 };
  assert.equal(cacheTokens(GIB, kvBytesPerToken(tiny)), 2_097_152);
});

test('the case that ran out of memory: 70B, 32768 tokens × 50 requests, wants 500 GiB and is refused', () => {
  const { fits, wantedGiB, verdict } = verdictOf({ 'max-model-len': 32768 }, 50);
  assert.equal(wantedGiB, 500);
  assert.equal(fits, false);
  assert.match(
    verdict.message,
    /50 requests × 32768 tokens want 500 GiB.* leave 148\.5 GiB: enough for 14\.8/,
  );
  assert.equal(verdict.fits === false && verdict.field, 'runtime.flags.max-model-len');
});

test('each remedy alone, followed, makes it fit', () => {
  const { verdict } = verdictOf({ 'max-model-len': 32768 }, 50);
  assert.ok(!verdict.fits);
  const figure = (pattern: RegExp): number =>
    Number(pattern.exec(verdict.remedy)?.[1] ?? assert.fail(verdict.remedy));
  assert.ok(verdictOf({ 'max-model-len': figure(/lower --max-model-len to (\d+)/) }, 50).fits);
  assert.ok(verdictOf({ 'max-model-len': 32768 }, figure(/hold (\d+) concurrent/)).fits);
  assert.ok(!verdictOf({ 'max-model-len': 32768 }, figure(/hold (\d+) concurrent/) + 1).fits);
  const tensor = figure(/--tensor-parallel-size (\d+)/);
  const wider = onA100s(
    { 'max-model-len': 32768, 'tensor-parallel-size': tensor },
    50,
    figure(/use (\d+) GPUs/),
  );
  assert.ok(checkCapacity(model(llama70b), wider).fits);
  assert.match(verdict.remedy, /fp8, which halves the cache \(not enough alone\)/);
});

test('8192 tokens × 50 requests want 125 GiB and fit', () => {
  const { fits, wantedGiB } = verdictOf({ 'max-model-len': 8192 }, 50);
  assert.equal(wantedGiB, 125);
  assert.equal(fits, true);
});

test('an fp8 cache takes half; auto takes the type of the model', () => {
  assert.equal(verdictOf({ 'max-model-len': 8192, 'kv-cache-dtype': 'fp8_e4m3' }, 50).wantedGiB, 62.5);
  assert.equal(verdictOf({ 'max-model-len': 8192, 'kv-cache-dtype': 'auto' }, 50).wantedGiB, 125);
  assert.ok(!verdictOf({ 'max-model-len': 8192 }, 80).fits);
  assert.ok(verdictOf({ 'max-model-len': 8192, 'kv-cache-dtype': 'fp8' }, 80).fits);
});

test('fewer KV heads than ranks: every rank keeps one', () => {
  const single = { ...llama8b, kvHeads: 2 };
  assert.equal(kvBytesPerToken(single, { tensor: 2, pipeline: 1 }), kvBytesPerToken(single));
  assert.equal(kvBytesPerToken(single, { tensor: 8, pipeline: 1 }), 4 * kvBytesPerToken(single));
});

test('the flags are read as vLLM reads them', () => {
  const context = (value: FlagValue): number =>
    verdictOf({ 'max-model-len': value }, 1).verdict.capacity.contextTokens;
  assert.equal(context('8k'), 8000);
  assert.equal(context('8K'), 8192);
  assert.equal(context('25.6k'), 25600);
  const underscores = checkCapacity(model(llama70b), {
    ...onA100s({}, 50),
    flags: { max_model_len: 8192, tensor_parallel_size: 4 },
  });
  assert.ok(underscores.fits);
});

test('a flag that cannot be read is refused with its name', () => {
  const refused: [Record<string, FlagValue>, string][] = [
    [{}, 'runtime.flags.max-model-len'],
    [{ 'max-model-len': 'auto' }, 'runtime.flags.max-model-len'],
    [{ 'max-model-len': '1.5K' }, 'runtime.flags.max-model-len'],
    [{ 'max-model-len': 0 }, 'runtime.flags.max-model-len'],
    [{ 'max-model-len': 8192, 'gpu-memory-utilization': 90 }, 'runtime.flags.gpu-memory-utilization'],
    [{ 'max-model-len': 8192, 'gpu-memory-utilization': true }, 'runtime.flags.gpu-memory-utilization'],
    [{ 'max-model-len': 8192, 'kv-cache-dtype': 'int3' }, 'runtime.flags.kv-cache-dtype'],
  ];
  for (const [flags, field] of refused) {
    assert.throws(
      () => verdictOf(flags, 1),
      (error) =>
        error instanceof SlipwayError && error.code === 'INPUT_INVALID' && error.details.field === field,
      JSON.stringify(flags),
    );
  }
});

test('tensor parallelism that cannot share the KV heads is refused with the sizes that can', () => {
  const verdictFor = (kvHeads: number, tensor: number) => {
    const flags = { 'max-model-len': 8192, 'tensor-parallel-size': tensor };
    return checkCapacity(model({ ...llama8b, kvHeads }), onA100s(flags, 1, tensor));
  };
  const refused = verdictFor(8, 3);
  assert.ok(!refused.fits);
  assert.equal(refused.field, 'runtime.flags.tensor-parallel-size');
  assert.match(refused.message, /3 GPUs cannot share the model's 8 KV heads/);
  assert.match(refused.remedy, /size of 1, 2, 4, 8, or a multiple of 8$/);
  const taken = (kvHeads: number) =>
    [1, 2, 3, 4, 5, 6, 7, 8, 12, 16].filter((tensor) => verdictFor(kvHeads, tensor).fits);
  assert.deepEqual(taken(8), [1, 2, 4, 8, 16]);
  assert.deepEqual(taken(6), [1, 2, 3, 6, 12]);
  assert.deepEqual(taken(4), [1, 2, 4, 8, 12, 16]);
  assert.deepEqual(taken(1), [1, 2, 3, 4, 5, 6, 7, 8, 12, 16]);
});

test('no remedy names a size that cannot share the KV heads', () => {
  const on = (count: number, tensor: number, kvHeads = 8) => {
    const flags = { 'max-model-len': 8192, 'tensor-parallel-size': tensor };
    const verdict = checkCapacity(model({ ...llama70b, kvHeads }), onA100s(flags, 50, count));
    assert.ok(!verdict.fits);
    return verdict.remedy;
  };
  assert.match(on(3, 1), /^Use 2 of the 3 GPUs \(--tensor-parallel-size 2\), now 1$/);
  assert.match(on(3, 4), /lower --tensor-parallel-size to 2$/);
  assert.doesNotMatch(on(3, 2), /of the 3 GPUs/);
  assert.match(on(2, 2, 8), /--tensor-parallel-size 4\)/);
  assert.doesNotMatch(on(2, 2, 6), /--tensor-parallel-size/);
});

test('figures are rounded, and one request is one', () => {
  const flags = { 'max-model-len': 8192, 'tensor-parallel-size': 1 };
  const runtime = onA100s(flags, 1, 1);
  const none = checkCapacity(model(llama70b), {
    ...runtime,
    gpu: { ...runtime.gpu, memoryGiB: 79.6474609375 },
  });
  assert.match(none.message, /of 79\.6 GiB$/);
  assert.match(
    checkCapacity(model(llama8b), runtime).message,
    /^1 request × 8192 tokens wants 1 GiB of KV cache/,
  );
});

test('what the GPUs cannot be is refused with its own remedy', () => {
  const refusal = (runtime: RuntimeSpec) => {
    const verdict = checkCapacity(model(llama70b), runtime);
    assert.ok(!verdict.fits);
    return verdict;
  };
  const flags = { 'max-model-len': 8192 };
  assert.match(refusal(onA100s(flags, 1, 2)).message, /over 4 GPUs, but it is given 2/);
  const noTensor = refusal(onA100s({ ...flags, 'tensor-parallel-size': 1 }, 1));
  assert.match(noTensor.message, /leave no KV cache on 1 × A100-80GB/);
  assert.match(noTensor.remedy, /use all 4 GPUs \(--tensor-parallel-size 4\)/i);
  assert.equal(refusal(onA100s({ ...flags, 'max-num-seqs': 16 }, 50)).field, 'runtime.flags.max-num-seqs');
});

test('as an exception it is CAPACITY_EXCEEDED with the figures and the remedy', () => {
  assert.throws(
    () => assertCapacity(model(llama70b), onA100s({ 'max-model-len': 32768 }, 50)),
    (error) =>
      error instanceof SlipwayError &&
      error.code === 'CAPACITY_EXCEEDED' &&
      error.details.value === 32768 &&
      /One of: lower --max-model-len/.test(error.details.remedy ?? ''),
  );
});

test('more memory never holds less, and what fits also fits shorter', () => {
  const lengths = fc.integer({ min: 16, max: 200_000 });
  fc.assert(
    fc.property(
      lengths,
      fc.integer({ min: 1, max: 200 }),
      fc.double({ min: 0.3, max: 1, noNaN: true }),
      (length, n, share) => {
        const held = (flags: Record<string, FlagValue>) =>
          verdictOf({ 'max-model-len': length, ...flags }, n);
        const one = held({ 'gpu-memory-utilization': share });
        const all = held({ 'gpu-memory-utilization': 1 });
        assert.ok(all.verdict.capacity.tokens >= one.verdict.capacity.tokens);
        if (one.fits)
          assert.ok(held({ 'gpu-memory-utilization': share, 'max-model-len': Math.ceil(length / 2) }).fits);
      },
    ),
  );
});

test("a model's own config.json gives its architecture", () => {
  const llama = {
    hidden_size: 4096,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    num_key_value_heads: 8,
    torch_dtype: 'bfloat16',
  };
  assert.deepEqual(readArchitecture(llama, 15), llama8b);
  // Without grouped queries every head has its own cache; a head's width may be named.
  assert.equal(readArchitecture({ ...llama, num_key_value_heads: null }, 15).kvHeads, 32);
  assert.equal(readArchitecture({ ...llama, head_dim: 256 }, 15).headDim, 256);
  // A model for text and images; vLLM halves a 32-bit checkpoint.
  assert.deepEqual(readArchitecture({ text_config: llama, dtype: 'float32' }, 15), llama8b);
  // DeepSeek-V3: 61 layers × (512 + 64) × 2 bytes, on every rank.
  const deepseek = readArchitecture(
    { num_hidden_layers: 61, kv_lora_rank: 512, qk_rope_head_dim: 64, torch_dtype: 'bfloat16' },
    640,
  );
  assert.equal(kvBytesPerToken(deepseek), 61 * 576 * 2);
  assert.equal(kvBytesPerToken(deepseek, { tensor: 8, pipeline: 1 }), 8 * 61 * 576 * 2);
});

test('a config.json that lacks a figure is refused with its name', () => {
  assert.throws(
    () => readArchitecture({ num_attention_heads: 32, hidden_size: 4096 }, 1),
    (error) => error instanceof SlipwayError && error.details.field === 'num_hidden_layers',
  );
  assert.throws(() => readArchitecture('llama', 1), SlipwayError);
});

test('a long context is admitted with a warning: its requests take the room of several', () => {
  const message = (context: number) => verdictOf({ 'max-model-len': context }, 1).verdict.message;
  assert.match(message(32768), /warning: a request of 32768 tokens takes the room of 4 of 8192: long inputs/);
  assert.doesNotMatch(message(8192), /warning/);
});
