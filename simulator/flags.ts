/** A command line that vLLM's argument parser would refuse; the process ends with status 2 and this message on standard error. */
export class UsageError extends Error {
  override name = 'UsageError';
}

type Kind = 'int' | 'float' | 'text' | 'list' | 'switch' | 'size';

/** vLLM's flags that change what the simulator does. `size` takes 8192, 8k (8000) and 8K (8192). */
const meaningful = {
  model: 'text',
  'served-model-name': 'list',
  host: 'text',
  port: 'int',
  'api-key': 'list',
  'max-model-len': 'size',
  'gpu-memory-utilization': 'float',
  'tensor-parallel-size': 'int',
  'max-num-seqs': 'size',
  'max-num-batched-tokens': 'size',
  'enable-prefix-caching': 'switch',
  'enable-chunked-prefill': 'switch',
  'enable-prompt-tokens-details': 'switch',
  'enable-request-id-headers': 'switch',
  'stream-interval': 'int',
  quantization: 'text',
  'kv-cache-dtype': 'text',
  dtype: 'text',
  'block-size': 'int',
  'shutdown-timeout': 'int',
} as const satisfies Record<string, Kind>;

/** vLLM's flags that are taken, checked for their kind, and change nothing here. */
const accepted: Record<string, Kind> = {
  'async-scheduling': 'switch',
  'attention-backend': 'text',
  'chat-template': 'text',
  'chat-template-content-format': 'text',
  'compilation-config': 'text',
  'config-format': 'text',
  'cpu-offload-gb': 'float',
  'data-parallel-size': 'int',
  'default-chat-template-kwargs': 'text',
  'disable-access-log-for-endpoints': 'text',
  'disable-custom-all-reduce': 'switch',
  'disable-fastapi-docs': 'switch',
  'disable-log-requests': 'switch',
  'disable-log-stats': 'switch',
  'disable-uvicorn-access-log': 'switch',
  'distributed-executor-backend': 'text',
  'download-dir': 'text',
  'enable-auto-tool-choice': 'switch',
  'enable-expert-parallel': 'switch',
  'enable-log-requests': 'switch',
  'enable-lora': 'switch',
  'enable-sleep-mode': 'switch',
  'enforce-eager': 'switch',
  'generation-config': 'text',
  'hf-overrides': 'text',
  'hf-token': 'text',
  'kv-cache-memory-bytes': 'size',
  'kv-transfer-config': 'text',
  'limit-mm-per-prompt': 'text',
  'load-format': 'text',
  'logits-processors': 'list',
  'long-prefill-token-threshold': 'int',
  'lora-modules': 'list',
  'max-cpu-loras': 'int',
  'max-log-len': 'int',
  'max-logprobs': 'int',
  'max-lora-rank': 'int',
  'max-loras': 'int',
  middleware: 'list',
  'model-impl': 'text',
  'override-generation-config': 'text',
  'otlp-traces-endpoint': 'text',
  'pipeline-parallel-size': 'int',
  'reasoning-parser': 'text',
  'response-role': 'text',
  revision: 'text',
  'root-path': 'text',
  'scheduling-policy': 'text',
  seed: 'int',
  'speculative-config': 'text',
  'swap-space': 'float',
  tokenizer: 'text',
  'tokenizer-mode': 'text',
  'tokenizer-revision': 'text',
  'tool-call-parser': 'text',
  'trust-remote-code': 'switch',
  'uvicorn-log-level': 'text',
};

const shorthand: Record<string, string> = {
  '-tp': '--tensor-parallel-size',
  '-pp': '--pipeline-parallel-size',
  '-dp': '--data-parallel-size',
  '-q': '--quantization',
  '-O': '--compilation-config',
};

type Value<K extends Kind> = K extends 'int' | 'float' | 'size'
  ? number
  : K extends 'list'
    ? string[]
    : K extends 'switch'
      ? boolean
      : string;

export type Flags = { [Name in keyof typeof meaningful]?: Value<(typeof meaningful)[Name]> };

const choices: Record<string, readonly string[]> = {
  dtype: ['auto', 'bfloat16', 'float', 'float16', 'float32', 'half'],
  'kv-cache-dtype': ['auto', 'bfloat16', 'fp8', 'fp8_e4m3', 'fp8_e5m2', 'fp8_inc'],
  'block-size': ['1', '8', '16', '32', '64', '128', '256'],
};

/** Parses `[serve] [MODEL] --flag value --flag=value --no-switch …` as argparse does. Throws UsageError. */
export function parseFlags(args: readonly string[]): Flags {
  const values = new Map<string, number | boolean | string | string[]>();
  const unrecognised: string[] = [];
  const positional: string[] = [];
  const rest = [...args];
  if (rest[0] === 'serve') rest.shift();
  while (rest.length > 0) {
    const argument = rest.shift() ?? '';
    if (!/^-[^\d]/.test(argument)) {
      positional.push(argument);
      continue;
    }
    const [given = '', inline] = splitAt(shorthand[argument] ?? argument, '=');
    const name = given.replace(/^--/, '').replaceAll('_', '-');
    const negated = name.startsWith('no-') ? name.slice(3) : null;
    const kinds: Record<string, Kind> = { ...accepted, ...meaningful };
    if (negated !== null && kinds[negated] === 'switch' && inline === undefined) {
      values.set(negated, false);
      continue;
    }
    const kind = given.startsWith('--') ? kinds[name] : undefined;
    if (kind === undefined) {
      unrecognised.push(argument);
      while (rest[0] !== undefined && !rest[0].startsWith('-')) unrecognised.push(rest.shift() ?? '');
    } else if (kind === 'switch') {
      if (inline !== undefined)
        throw new UsageError(`argument --${name}: ignored explicit argument '${inline}'`);
      values.set(name, true);
    } else if (kind === 'list') {
      const items = inline === undefined ? [] : [inline];
      while (inline === undefined && rest[0] !== undefined && !rest[0].startsWith('-')) {
        items.push(rest.shift() ?? '');
      }
      if (items.length === 0) throw new UsageError(`argument --${name}: expected at least one argument`);
      values.set(name, items);
    } else {
      const text = inline ?? (rest[0] === undefined || /^--/.test(rest[0]) ? undefined : rest.shift());
      if (text === undefined) throw new UsageError(`argument --${name}: expected one argument`);
      values.set(name, converted(name, kind, text));
    }
  }
  const [model, ...more] = positional;
  unrecognised.unshift(...more);
  if (unrecognised.length > 0) {
    throw new UsageError(`unrecognized arguments: ${unrecognised.join(' ')}`);
  }
  if (model !== undefined) values.set('model', model);
  const flags: Record<string, unknown> = {};
  for (const name of Object.keys(meaningful)) if (values.has(name)) flags[name] = values.get(name);
  return flags as Flags;
}

function splitAt(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function converted(name: string, kind: Exclude<Kind, 'switch' | 'list'>, text: string): number | string {
  const allowed = choices[name];
  if (allowed !== undefined && !allowed.includes(text)) {
    const list = allowed.map((choice) => (name === 'block-size' ? choice : `'${choice}'`)).join(', ');
    throw new UsageError(`argument --${name}: invalid choice: '${text}' (choose from ${list})`);
  }
  if (kind === 'text') return text;
  const number = kind === 'size' ? sizeOf(text) : Number(text);
  const valid =
    text.trim() !== '' && Number.isFinite(number) && (kind === 'float' || Number.isInteger(number));
  if (!valid)
    throw new UsageError(`argument --${name}: invalid ${kind === 'size' ? 'int' : kind} value: '${text}'`);
  return number;
}

/** 1k = 1000, 1K = 1024, likewise m, M, g and G. */
function sizeOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kKmMgG])$/.exec(text);
  if (match === null) return Number(text);
  const suffix = match[2] ?? '';
  const power = { k: 1, m: 2, g: 3 }[suffix.toLowerCase()] ?? 0;
  const base = suffix === suffix.toLowerCase() ? 1000 : 1024;
  return Math.round(Number(match[1]) * base ** power);
}
