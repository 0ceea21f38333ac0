import { SlipwayError } from '../errors.ts';
import { dtypeBytes } from './capacity.ts';
import type { ModelArchitecture } from './serving.ts';

/** What a model's own file says of its cache, and how far that can be trusted. */
export interface ModelReading {
  architecture: ModelArchitecture;
  /** null: the formula is vLLM's own for this model; else why its figures take up more than vLLM will. */
  upperBound: string | null;
  /** The longest context that the model was made for; null: the file does not say. */
  longest: number | null;
}

/**
 * Reads what the KV-cache formula needs from a Hugging Face `config.json`; `weightsGiB` is not in it. A model for text and images keeps
 * its language model under `text_config`. Multi-head latent attention (DeepSeek) caches one vector of `kv_lora_rank + qk_rope_head_dim`
 * per layer, on every rank: here one KV head of half of it, which the factor 2 of the formula makes whole again.
 * @throws SlipwayError INPUT_INVALID naming the missing field
 */
export function readModelConfig(config: unknown, weightsGiB: number): ModelReading {
  const outer = record(config, 'config.json');
  const inner = outer.text_config === undefined ? outer : record(outer.text_config, 'text_config');
  const layers = count(inner, 'num_hidden_layers');
  const kvBytes = elementBytes(inner, outer);
  const longest = isPresent(inner.max_position_embeddings) ? count(inner, 'max_position_embeddings') : null;
  if (typeof inner.kv_lora_rank === 'number') {
    const headDim = (count(inner, 'kv_lora_rank') + count(inner, 'qk_rope_head_dim')) / 2;
    const architecture = { layers, kvHeads: 1, headDim, kvBytes, weightsGiB };
    return { architecture, upperBound: unusualLayers(inner), longest };
  }
  const heads = count(inner, 'num_attention_heads');
  const kvHeads = isPresent(inner.num_key_value_heads) ? count(inner, 'num_key_value_heads') : heads;
  const headDim = isPresent(inner.head_dim) ? count(inner, 'head_dim') : count(inner, 'hidden_size') / heads;
  const slidingWindow = slidingWindowOf(inner, layers);
  const architecture = {
    layers,
    kvHeads,
    headDim,
    kvBytes,
    ...(slidingWindow === null ? {} : { slidingWindow }),
    weightsGiB,
  };
  return { architecture, upperBound: unusualLayers(inner), longest };
}

/** The architecture alone. @throws SlipwayError INPUT_INVALID naming the missing field */
export function readArchitecture(config: unknown, weightsGiB: number): ModelArchitecture {
  return readModelConfig(config, weightsGiB).architecture;
}

/**
 * Layers that keep only a window: `layer_types` lists them (newer files); else every layer but each `sliding_window_pattern`th (Gemma 3),
 * every other one (Gemma 2), or all of them (Mistral). Qwen names a window that it does not use.
 */
function slidingWindowOf(
  config: Record<string, unknown>,
  layers: number,
): { layers: number; tokens: number } | null {
  if (!isPresent(config.sliding_window) || config.use_sliding_window === false) return null;
  const tokens = count(config, 'sliding_window');
  const types = layerTypes(config);
  if (types !== null) {
    const sliding = types.filter((type) => type === 'sliding_attention').length;
    return sliding === 0 ? null : { layers: sliding, tokens };
  }
  if (String(config.model_type).startsWith('gemma2')) return { layers: Math.ceil(layers / 2), tokens };
  const pattern = isPresent(config.sliding_window_pattern) ? count(config, 'sliding_window_pattern') : null;
  // With Qwen's window only the layers from `max_window_layers` on have it.
  const without = isPresent(config.max_window_layers)
    ? Math.min(layers, Number(config.max_window_layers))
    : pattern === null
      ? 0
      : Math.floor(layers / pattern);
  return layers === without ? null : { layers: layers - without, tokens };
}

/** Fields by which models with layers of other kinds are known. */
const otherKinds: [field: string, what: string][] = [
  ['attention_chunk_size', 'layers of chunked attention keep only their chunk'],
  ['num_kv_shared_layers', 'some layers share the cache of others'],
  ['full_attention_interval', 'layers of linear attention keep no token'],
  ['attn_layer_period', 'Mamba layers keep no token'],
  ['hybrid_override_pattern', 'Mamba layers keep no token'],
  ['mamba_d_state', 'Mamba layers keep no token'],
  ['index_topk', 'sparse attention caches differently'],
];

function unusualLayers(config: Record<string, unknown>): string | null {
  const known = otherKinds.find(([field]) => isPresent(config[field]) && config[field] !== 0);
  if (known !== undefined) return known[1];
  const others = (layerTypes(config) ?? []).filter(
    (type) => type !== 'full_attention' && type !== 'sliding_attention',
  );
  return others.length > 0 ? `${others.length} layers are ${others[0]}` : null;
}

function layerTypes(config: Record<string, unknown>): unknown[] | null {
  return Array.isArray(config.layer_types) ? config.layer_types : null;
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
