import { readdir, readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { counted } from '../../domain/counted.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { type ModelReading, readModelConfig } from '../../domain/serving/architecture.ts';
import { type CapacityVerdict, checkCapacity, requestsOf } from '../../domain/serving/capacity.ts';
import { gpuKinds, gpuMemoryGiB } from '../../domain/serving/gpus.ts';
import type { FlagValue, RuntimeSpec } from '../../domain/serving/serving.ts';
import { parseYaml } from '../../domain/validation.ts';
import { EXIT, UsageError } from '../exit.ts';
import { parseFile } from '../files.ts';
import { facts, type Output, table } from '../output.ts';
import { type CommandContext, run } from './context.ts';

const GIB = 2 ** 30;

interface Options {
  gpu: string;
  count: string;
  context: string;
  concurrency: string;
  memoryGib?: string;
  weightsGib?: string;
  kvDtype?: string;
  flag: string[];
}

/** `slipway capacity`: what a model's KV cache holds on given GPUs, without starting anything. */
export function addCapacityCommand(program: Command): void {
  program
    .command('capacity <model>')
    .description(
      "what the KV cache of a model holds: its config.json, or the folder that has it, with the weights' files",
    )
    .requiredOption('--gpu <kind>', `one of ${gpuKinds.join(', ')}; any other with --memory-gib`)
    .requiredOption('--context <tokens>', 'longest request: --max-model-len')
    .option('--count <gpus>', 'GPUs of a replica', '1')
    .option('--concurrency <requests>', 'requests at full context that it is to hold at once', '1')
    .option('--kv-dtype <type>', 'type of the cache, e.g. fp8; left out: the type of the model')
    .option('--weights-gib <gib>', "size of the weights, where the weights' files are not there")
    .option('--memory-gib <gib>', 'memory of a GPU')
    .option('--flag <name=value>', "another of vLLM's flags, e.g. gpu-memory-utilization=0.92", collect, [])
    .action(run(capacity));
}

const collect = (value: string, before: string[]): string[] => [...before, value];

async function capacity({ output }: CommandContext, model: string, options: Options): Promise<void> {
  const runtime = runtimeOf(options);
  const { name, ...reading } = await readModel(model, options.weightsGib);
  const { architecture } = reading;
  const price = { inputPerMillion: 0, outputPerMillion: 0 };
  const verdict = checkCapacity({ name, architecture, price }, runtime);
  const { fits, message, capacity: figures } = verdict;
  const shorter = lengths(figures.contextTokens).map((tokens) => ({
    tokens,
    requests: requestsOf(figures, tokens),
  }));
  const result = {
    fits,
    message,
    remedy: verdict.fits ? null : verdict.remedy,
    upperBound: reading.upperBound,
    cacheGiB: figures.freeBytes / GIB,
    cacheTokens: figures.tokens,
    bytesPerToken: figures.bytesPerToken,
    contextTokens: figures.contextTokens,
    requestsAtFullContext: figures.concurrency,
    requestsByLength: shorter,
    architecture,
  };
  output.result(result, () => tell(output, verdict, reading, shorter));
  if (!fits) process.exitCode = EXIT.refused;
}

function tell(
  output: Output,
  verdict: CapacityVerdict,
  { architecture, upperBound, longest }: ModelReading,
  byLength: { tokens: number; requests: number }[],
): void {
  const { capacity: figures, message } = verdict;
  const window = architecture.slidingWindow;
  const lines = facts([
    ['weights', `${round(architecture.weightsGiB)} GiB`],
    ['KV cache', `${round(Math.max(0, figures.freeBytes) / GIB)} GiB, ${counted(figures.tokens, 'token')}`],
    ['a token', `${round(figures.bytesPerToken / 1024)} KiB over ${counted(figures.gpus, 'GPU')}`],
    [
      'window',
      window === undefined
        ? null
        : `${counted(window.tokens, 'token')} in ${window.layers} of ${counted(architecture.layers, 'layer')}`,
    ],
    [
      'at once',
      `${counted(down(figures.concurrency), 'request')} of ${counted(figures.contextTokens, 'token')}`,
    ],
  ]);
  for (const line of lines) output.line(line);
  if (upperBound !== null) {
    output.line(
      output.style(
        'yellow',
        `an upper bound of what a token takes: ${upperBound}; vLLM says at start what it holds`,
      ),
    );
  }
  if (longest !== null && longest < figures.contextTokens) {
    output.line(
      output.style(
        'yellow',
        `the model was made for at most ${counted(longest, 'token')}; vLLM refuses more`,
      ),
    );
  }
  if (byLength.length > 1) {
    output.line();
    const rows = byLength.map(({ tokens, requests }) => [String(tokens), down(requests)]);
    for (const line of table(['TOKENS', 'REQUESTS AT ONCE'], rows)) output.line(line);
  }
  output.line();
  output.line(output.style(verdict.fits ? 'green' : 'red', message));
  if (!verdict.fits) output.line(verdict.remedy);
}

function runtimeOf(options: Options): RuntimeSpec {
  const { gpu, kvDtype, flag } = options;
  const count = whole('--count', options.count);
  const given = Object.fromEntries(flag.map(flagOption));
  const flags: Record<string, FlagValue> = {
    ...(count > 1 ? { 'tensor-parallel-size': count } : {}),
    ...(kvDtype === undefined ? {} : { 'kv-cache-dtype': kvDtype }),
    ...given,
    'max-model-len': options.context,
  };
  const memoryGiB =
    options.memoryGib === undefined ? gpuMemoryGiB(gpu) : positive('--memory-gib', options.memoryGib);
  const concurrency = whole('--concurrency', options.concurrency);
  return { flags, gpu: { kind: gpu, memoryGiB, count }, concurrency, replicas: 1 };
}

/** `name=value` as in `runtime.flags`; a bare name is a bare flag. */
function flagOption(text: string): [string, FlagValue] {
  const [name = '', ...rest] = text.replace(/^--/, '').split('=');
  return [name.replaceAll('_', '-'), rest.length === 0 ? true : rest.join('=')];
}

/** Half as long, and again, down to the length of a short question. */
function lengths(longest: number): number[] {
  const found = [longest];
  for (let tokens = longest / 2; tokens >= 2_048 && found.length < 6; tokens /= 2) {
    if (Number.isInteger(tokens)) found.push(tokens);
  }
  return found;
}

async function readModel(
  model: string,
  weights: string | undefined,
): Promise<ModelReading & { name: string }> {
  const found = await stat(model).catch(() => null);
  if (found === null) {
    throw new SlipwayError('INPUT_INVALID', `${model} is no file and no folder of this machine`, {
      field: 'model',
      value: model,
      remedy: `Get the model's own config.json first, e.g. hf download ${/^[\w.-]+\/[\w.-]+$/.test(model) ? model : 'ORGANISATION/MODEL'} config.json model.safetensors.index.json --local-dir model, and name the folder`,
    });
  }
  const file = found.isDirectory() ? join(model, 'config.json') : model;
  if (found.isDirectory() && (await stat(file).catch(() => null)) === null) {
    throw new SlipwayError('INPUT_INVALID', `${model} has no config.json`, {
      field: 'model',
      value: model,
      remedy: "Name the folder that has the model's own config.json, or the file",
    });
  }
  const weightsGiB =
    weights === undefined ? await weightsBeside(dirname(file)) : positive('--weights-gib', weights);
  const reading = await parseFile(file, (text) =>
    readModelConfig(parseYaml(text, 'INPUT_INVALID', 'JSON'), weightsGiB),
  );
  return { ...reading, name: model };
}

/** What the index of the weights says, or the size of their files. */
async function weightsBeside(folder: string): Promise<number> {
  const index = await readFile(join(folder, 'model.safetensors.index.json'), 'utf8').catch(() => null);
  const total = index === null ? await sizeOfWeights(folder) : totalSize(index);
  if (total > 0) return total / GIB;
  throw new SlipwayError('INPUT_INVALID', `nothing in ${folder} says how large the weights are`, {
    field: 'weights-gib',
    remedy: "Put the model's model.safetensors.index.json beside its config.json, or give --weights-gib",
  });
}

function totalSize(index: string): number {
  try {
    const { metadata } = JSON.parse(index) as { metadata?: { total_size?: unknown } };
    return Number(metadata?.total_size ?? 0);
  } catch {
    return 0;
  }
}

async function sizeOfWeights(folder: string): Promise<number> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'));
  const sizes = await Promise.all(files.map(async (name) => (await stat(join(folder, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function whole(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw new UsageError(`${option} is not a positive whole number: ${text}`);
}

function positive(option: string, text: string): number {
  const value = Number(text);
  if (value > 0 && Number.isFinite(value)) return value;
  throw new UsageError(`${option} is not a number above 0: ${text}`);
}

const round = (value: number): string => (Math.round(value * 10) / 10).toString();
const down = (value: number): string => (Math.floor(value * 10) / 10).toString();
