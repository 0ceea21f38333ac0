import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { StartRefused } from './refused.ts';

const configSchema = z.object({
  hidden_size: z.number().int().positive(),
  intermediate_size: z.number().int().positive(),
  max_position_embeddings: z.number().int().positive(),
  num_attention_heads: z.number().int().positive(),
  num_hidden_layers: z.number().int().positive(),
  num_key_value_heads: z.number().int().positive().optional(),
  head_dim: z.number().int().positive().optional(),
  tie_word_embeddings: z.boolean().optional(),
  torch_dtype: z.string().optional(),
  dtype: z.string().optional(),
  vocab_size: z.number().int().positive(),
});

/** What of a model's config.json decides memory and speed. */
export interface Architecture {
  layers: number;
  hidden: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  parameters: number;
  maxPositions: number;
  dtype: string;
}

/** Finds `config.json` in the directory `model`, or under one of the `folders` by the model's name. */
export function loadArchitecture(model: string, folders: readonly string[]): Architecture {
  const candidates = [model, ...folders.map((folder) => join(folder, model))];
  const directory = candidates.find((path) => existsSync(join(path, 'config.json')));
  if (directory === undefined || !statSync(directory).isDirectory()) {
    throw new StartRefused(
      `OSError: ${model} is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'`,
    );
  }
  const parsed = configSchema.safeParse(JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8')));
  if (!parsed.success) {
    throw new StartRefused(`ValueError: ${join(directory, 'config.json')}: ${z.prettifyError(parsed.error)}`);
  }
  return architectureOf(parsed.data);
}

function architectureOf(config: z.infer<typeof configSchema>): Architecture {
  const heads = config.num_attention_heads;
  const kvHeads = config.num_key_value_heads ?? heads;
  const headDim = config.head_dim ?? config.hidden_size / heads;
  const attention = config.hidden_size * headDim * (2 * heads + 2 * kvHeads);
  const feedForward = 3 * config.hidden_size * config.intermediate_size;
  const embeddings = config.vocab_size * config.hidden_size * (config.tie_word_embeddings === true ? 1 : 2);
  return {
    layers: config.num_hidden_layers,
    hidden: config.hidden_size,
    heads,
    kvHeads,
    headDim,
    parameters: config.num_hidden_layers * (attention + feedForward) + embeddings,
    maxPositions: config.max_position_embeddings,
    dtype: config.dtype ?? config.torch_dtype ?? 'bfloat16',
  };
}
