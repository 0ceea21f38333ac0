import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { kvBytesPerTokenAndRank, type MemorySettings, planMemory } from '../../../simulator/engine/memory.ts';
import { loadArchitecture } from '../../../simulator/engine/model.ts';

const models = join(import.meta.dirname, '../../../simulator/models');
const small = loadArchitecture('meta-llama/Llama-3.1-8B-Instruct', [models]);
const large = loadArchitecture('meta-llama/Llama-3.1-70B-Instruct', [models]);
const settings: MemorySettings = {
  gpuMemoryGiB: 80,
  gpuMemoryUtilization: 0.9,
  tensorParallelSize: 1,
  maxModelLen: 8192,
  maxNumBatchedTokens: null,
  quantization: null,
  dtype: 'auto',
  kvCacheDtype: 'auto',
  blockSize: 16,
};

describe('memory of the simulated GPU', () => {
  it('counts the parameters that the models are named after', () => {
    assert.ok(Math.abs(small.parameters - 8.03e9) < 0.01e9);
    assert.ok(Math.abs(large.parameters - 70.55e9) < 0.1e9);
  });

  it('takes 320 KiB of cache a token for Llama 70B, shared by its ranks', () => {
    assert.equal(kvBytesPerTokenAndRank(large, 1, 'auto', 2), 320 * 1024);
    assert.equal(kvBytesPerTokenAndRank(large, 4, 'auto', 2), 80 * 1024);
    assert.equal(kvBytesPerTokenAndRank(large, 4, 'fp8', 2), 40 * 1024);
    assert.equal(kvBytesPerTokenAndRank(large, 16, 'auto', 2), 40 * 1024, 'one head a rank at least');
  });

  it('leaves some 55 GiB of cache to Llama 8B on 80 GiB, and more when it is quantised', () => {
    const plain = planMemory(small, settings);
    const gib = (plain.blocks * 16 * plain.kvBytesPerToken) / 2 ** 30;
    assert.ok(gib > 53 && gib < 57, `${gib} GiB`);
    const quantised = planMemory(small, { ...settings, quantization: 'awq' });
    assert.ok(quantised.blocks > plain.blocks);
    assert.equal(quantised.weightBits, 4);
  });

  it('starts Llama 70B on four GPUs, and refuses it on one as vLLM does', () => {
    assert.ok(planMemory(large, { ...settings, tensorParallelSize: 4, maxModelLen: 32_768 }).blocks > 0);
    assert.throws(
      () => planMemory(large, settings),
      /^StartRefused: torch\.OutOfMemoryError: CUDA out of memory/,
    );
  });

  it('refuses a context whose cache does not fit, and names the length that does', () => {
    const tight = { ...settings, tensorParallelSize: 2, maxModelLen: 32_768 };
    let estimate = 0;
    assert.throws(
      () => planMemory(large, tight),
      (error: Error) => {
        estimate = Number(/estimated maximum model length is (\d+)/.exec(error.message)?.[1]);
        return error.message.startsWith(
          "ValueError: To serve at least one request with the models's max seq len (32768), (5.00 GiB KV cache",
        );
      },
    );
    assert.ok(planMemory(large, { ...tight, maxModelLen: estimate }).blocks > 0);
    assert.throws(() => planMemory(large, { ...tight, maxModelLen: estimate + 16 }));
  });

  it('refuses weights that leave no cache at all', () => {
    assert.throws(
      () => planMemory(small, { ...settings, gpuMemoryUtilization: 0.2 }),
      /No available memory for the cache blocks/,
    );
  });

  it('refuses what the architecture does not allow', () => {
    assert.throws(() => planMemory(small, { ...settings, tensorParallelSize: 3 }), /must be divisible/);
    assert.throws(
      () => planMemory(small, { ...settings, maxModelLen: 200_000 }),
      /User-specified max_model_len \(200000\) is greater/,
    );
    assert.throws(() => loadArchitecture('nobody/nothing', [models]), /not a valid model identifier/);
  });
});
