import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseEngine } from '../../../adapters/vllm/engine.ts';

test('reads what vLLM says of itself, over all its engines', () => {
  const text = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a } b"} 3.0
vllm:num_requests_running{engine="1",model_name="a"} 4.0
vllm:num_requests_waiting{engine="0",model_name="a"} 2.0
vllm:num_requests_waiting_by_reason{engine="0"} 9.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
vllm:cache_config_info{block_size="16",engine="0",gpu_memory_utilization="0.92",kv_cache_max_concurrency="12.5",kv_cache_size_tokens="102400",num_gpu_blocks="1",sliding_window="None"} 1.0
`;
  assert.deepEqual(parseEngine(text), {
    running: 7,
    waiting: 2,
    inFlight: 9,
    cacheUsage: 0.75,
    cacheTokens: 102_400,
    cacheConcurrency: 12.5,
    memoryUtilization: 0.92,
  });
});

test('an older vLLM gives its cache in blocks; what it does not say is null, never zero', () => {
  const old =
    'vllm:cache_config_info{block_size="16",num_gpu_blocks="4096",gpu_memory_utilization="None"} 1.0';
  assert.deepEqual(parseEngine(old), {
    running: null,
    waiting: null,
    inFlight: null,
    cacheUsage: null,
    cacheTokens: 65_536,
    cacheConcurrency: null,
    memoryUtilization: null,
  });
  assert.equal(parseEngine('').inFlight, null);
  assert.equal(parseEngine('vllm:kv_cache_usage_perc NaN').cacheUsage, null);
});
