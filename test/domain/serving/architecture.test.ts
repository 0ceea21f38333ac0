import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readModelConfig } from '../../../domain/serving/architecture.ts';

const config = (over: Record<string, unknown>) => ({
  hidden_size: 4096,
  num_attention_heads: 32,
  num_hidden_layers: 32,
  num_key_value_heads: 8,
  ...over,
});
const windowOf = (over: Record<string, unknown>) =>
  readModelConfig(config(over), 1).architecture.slidingWindow;

test('windows are read as each family writes them', () => {
  const sliding = 'sliding_attention';
  const cases: [string, Record<string, unknown>, { layers: number; tokens: number } | undefined][] = [
    ['Llama', {}, undefined],
    ['Mistral 7B v0.1: every layer', { sliding_window: 4096 }, { layers: 32, tokens: 4096 }],
    ['Mistral 7B v0.3', { sliding_window: null }, undefined],
    [
      'Qwen2: named and not used',
      { sliding_window: 131072, use_sliding_window: false, max_window_layers: 28 },
      undefined,
    ],
    [
      'Qwen2: from a layer on',
      { sliding_window: 4096, use_sliding_window: true, max_window_layers: 28 },
      { layers: 4, tokens: 4096 },
    ],
    [
      'Gemma 2: every other layer',
      { model_type: 'gemma2', num_hidden_layers: 42, sliding_window: 4096 },
      { layers: 21, tokens: 4096 },
    ],
    [
      'Gemma 3 27B: all but each sixth',
      { model_type: 'gemma3_text', num_hidden_layers: 62, sliding_window: 1024, sliding_window_pattern: 6 },
      { layers: 52, tokens: 1024 },
    ],
    [
      'gpt-oss: listed',
      {
        num_hidden_layers: 4,
        sliding_window: 128,
        layer_types: [sliding, 'full_attention', sliding, 'full_attention'],
      },
      { layers: 2, tokens: 128 },
    ],
    ['listed, none of them', { sliding_window: 128, layer_types: ['full_attention'] }, undefined],
  ];
  for (const [what, over, expected] of cases) assert.deepEqual(windowOf(over), expected, what);
});

test('a model with layers of other kinds is told to be an upper bound', () => {
  const bound = (over: Record<string, unknown>) => readModelConfig(config(over), 1).upperBound;
  assert.equal(bound({}), null);
  assert.equal(bound({ sliding_window: 4096 }), null);
  assert.match(bound({ attn_layer_period: 8 }) ?? '', /Mamba/);
  assert.match(bound({ attention_chunk_size: 8192 }) ?? '', /chunk/);
  assert.match(
    bound({ layer_types: ['linear_attention', 'full_attention'] }) ?? '',
    /1 layers are linear_attention/,
  );
  assert.equal(bound({ num_kv_shared_layers: 0 }), null);
  assert.match(bound({ num_kv_shared_layers: 10 }) ?? '', /share/);
});

test('the longest context that the model was made for', () => {
  assert.equal(readModelConfig(config({ max_position_embeddings: 131_072 }), 1).longest, 131_072);
  assert.equal(readModelConfig({ text_config: config({}) }, 1).longest, null);
});
