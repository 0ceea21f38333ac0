import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { loadKnowledge } from './answers/knowledge.ts';
import { realClock } from './engine/clock.ts';
import { Engine } from './engine/engine.ts';
import { EngineMetrics } from './engine/engine-metrics.ts';
import { checkMachine } from './engine/machine.ts';
import { planMemory } from './engine/memory.ts';
import { loadArchitecture } from './engine/model.ts';
import { StartRefused } from './engine/refused.ts';
import { type Flags, parseFlags, UsageError } from './flags.ts';
import { ModelServer } from './http/model-server.ts';
import { makeHttpServer, VERSION } from './http/server.ts';

/** Read from local disk while the engine starts; a real one takes longer. */
const LOAD_BYTES_PER_SECOND = 20 * 2 ** 30;
const DEFAULT_MODEL = 'meta-llama/Llama-3.1-8B-Instruct';
const DEFAULT_BLOCK_SIZE = 16;

function positiveNumber(name: string, fallback: number): number {
  const text = process.env[name];
  if (text === undefined || text === '') return fallback;
  const number = Number(text);
  if (!(number > 0)) throw new StartRefused(`${name} must be a positive number, but is '${text}'`);
  return number;
}

async function serve(flags: Flags): Promise<void> {
  const model = flags.model ?? DEFAULT_MODEL;
  const speed = positiveNumber('SIMULATOR_SPEED', 1);
  const ownModels = join(import.meta.dirname, 'models');
  const given = process.env.SIMULATOR_MODELS;
  const architecture = loadArchitecture(model, given === undefined ? [ownModels] : [given, ownModels]);
  const ranks = flags['tensor-parallel-size'] ?? 1;
  checkMachine(ranks);
  const blockSize = flags['block-size'] ?? DEFAULT_BLOCK_SIZE;
  const gpuMemoryUtilization = flags['gpu-memory-utilization'] ?? 0.9;
  const plan = planMemory(architecture, {
    gpuMemoryGiB: positiveNumber('SIMULATOR_GPU_MEMORY_GIB', 80),
    gpuMemoryUtilization,
    tensorParallelSize: ranks,
    maxModelLen: flags['max-model-len'] ?? null,
    maxNumBatchedTokens: flags['max-num-batched-tokens'] ?? null,
    quantization: flags.quantization ?? null,
    dtype: flags.dtype ?? 'auto',
    kvCacheDtype: flags['kv-cache-dtype'] ?? 'auto',
    blockSize,
  });
  const [name = model, ...otherNames] = flags['served-model-name'] ?? [];
  const cacheTokens = plan.blocks * blockSize;
  const prefixCaching = flags['enable-prefix-caching'] ?? true;
  const metrics = new EngineMetrics(name, plan.maxModelLen, {
    block_size: String(blockSize),
    cache_dtype: flags['kv-cache-dtype'] ?? 'auto',
    enable_prefix_caching: prefixCaching ? 'True' : 'False',
    gpu_memory_utilization: String(gpuMemoryUtilization),
    num_gpu_blocks: String(plan.blocks),
    kv_cache_size_tokens: String(cacheTokens),
    kv_cache_max_concurrency: (cacheTokens / plan.maxModelLen).toFixed(2),
  });
  const engine = new Engine(
    {
      plan,
      blockSize,
      maxNumSeqs: flags['max-num-seqs'] ?? 256,
      prefixCaching,
      chunkedPrefill: flags['enable-chunked-prefill'] ?? true,
      parametersPerRank: architecture.parameters / ranks,
      speed,
    },
    metrics,
    realClock,
  );
  const knowledge = process.env.SIMULATOR_KNOWLEDGE;
  const server = new ModelServer({
    names: [name, ...otherNames],
    model,
    maxModelLen: plan.maxModelLen,
    ability: { parameters: architecture.parameters, weightBits: plan.weightBits },
    knowledge: knowledge === undefined || knowledge === '' ? null : loadKnowledge(knowledge),
    engine,
  });
  const fromEnvironment = process.env.VLLM_API_KEY;
  const http = makeHttpServer(server, metrics, {
    apiKeys: flags['api-key'] ?? (fromEnvironment === undefined ? [] : [fromEnvironment]),
    root: model,
    streamInterval: flags['stream-interval'] ?? 1,
    promptTokensDetails: flags['enable-prompt-tokens-details'] ?? false,
    requestIdHeaders: flags['enable-request-id-headers'] ?? false,
    draining: () => draining,
  });
  const end = () => {
    engine.stop();
    http.closeAllConnections();
    process.exit(0);
  };
  let draining = false;
  const answering = new Set<ServerResponse>();
  http.on('request', (_, response) => {
    answering.add(response);
    response.once('close', () => {
      answering.delete(response);
      if (draining && answering.size === 0) end();
    });
  });
  process.on('SIGTERM', () => {
    if (draining || answering.size === 0 || (flags['shutdown-timeout'] ?? 0) === 0) end();
    draining = true;
    setTimeout(end, (flags['shutdown-timeout'] ?? 0) * 1000);
  });
  process.on('SIGINT', end);
  console.log(`INFO vLLM API server version ${VERSION} (simulated), model ${model}`);
  console.log(`INFO GPU KV cache size: ${cacheTokens.toLocaleString('en')} tokens`);
  await delay(((plan.weightBytes / LOAD_BYTES_PER_SECOND) * 1000) / speed);
  await new Promise<void>((resolve, reject) => {
    http.once('error', reject);
    http.listen(flags.port ?? 8000, flags.host ?? '0.0.0.0', resolve);
  });
  const { address, port } = http.address() as AddressInfo;
  console.log(`INFO Application startup complete. Uvicorn running on http://${address}:${port}`);
}

try {
  await serve(parseFlags(process.argv.slice(2)));
} catch (error) {
  if (error instanceof UsageError) {
    console.error(`usage: vllm serve [model_tag] [options]\nvllm serve: error: ${error.message}`);
    process.exit(2);
  }
  console.error(error instanceof StartRefused ? error.message : error);
  process.exit(1);
}
