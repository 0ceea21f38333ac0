import { SlipwayError } from '../errors.ts';
import { dtypeBytes } from './capacity.ts';
import type { ModelArchitecture } from './serving.ts';

/**
 * Reads what the KV-cache formula needs from a Hugging Face `config.json`; `weightsGiB` is not in it. A model for text and images keeps
 * its language model under `text_config`. Multi-head latent attention (DeepSeek) caches one vector of `kv_lora_rank + qk_rope_head_dim`
 * per layer, on every rank: here one KV head of half of it, which the factor 2 of the formula makes whole again.
 * @throws SlipwayError INPUT_INVALID naming the missing field
 */
export function readArchitecture(config: unknown, weightsGiB: number): ModelArchitecture {
  const outer = record(config, 'config.json');
  const inner = outer.text_config === undefined ? outer : record(outer.text_config, 'text_config');
  const layers = count(inner, 'num_hidden_layers');
  const kvBytes = elementBytes(inner, outer);
  if (typeof inner.kv_lora_rank === 'number') {
    const headDim = (count(inner, 'kv_lora_rank') + count(inner, 'qk_rope_head_dim')) / 2;
    return { layers, kvHeads: 1, headDim, kvBytes, weightsGiB };
  }
  const heads = count(inner, 'num_attention_heads');
  const kvHeads = isPresent(inner.num_key_value_heads) ? count(inner, 'num_key_value_heads') : heads;
  const headDim = isPresent(inner.head_dim) ? count(inner, 'head_dim') : count(inner, 'hidden_size') / heads;
  return { layers, kvHeads, headDim, kvBytes, weightsGiB };
}

/** The type's name stands in `dtype`, in older files in `torch_dtype`; a file without one means 16 bits, as vLLM's `auto` does. */
function elementBytes(...configs: Record<string, unknown>[]): number {
  const name = configs.map((config) => config.dtype ?? config.torch_dtype).find(isPresent);
  if (name === undefined) return 2;
  const bytes = dtypeBytes(String(name));
  if (bytes === undefined) throw invalid('torch_dtype', name);
  // vLLM loads 32-bit checkpoints with 16 bits unless it is told otherwise (`--dtype auto`).
  return Math.min(bytes, 2);
}

const isPresent = (value: unknown): boolean => value !== undefined && value !== null;

function record(value: unknown, field: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(field, value);
  return value as Record<string, unknown>;
}

function count(config: Record<string, unknown>, field: string): number {
  const value = config[field];
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) throw invalid(field, value);
  return value;
}

function invalid(field: string, value: unknown): SlipwayError {
  return new SlipwayError('INPUT_INVALID', `the model's config.json has no usable ${field}`, {
    field,
    value: typeof value === 'object' ? undefined : value,
    remedy: "Give the model's own config.json, or model.architecture by hand",
  });
}
