import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { BackoffTiming } from './backoff.ts';
import { NodesError } from './errors.ts';
import type { NodesOptions } from './nodes.ts';

export const USAGE = `usage: node simulator/nodes/main.ts --state FOLDER [options]
  --node NAME=GPUSxPRODUCT  a node, e.g. gpu-1=4xA100-80GB, or cpu-1 for one without GPUs; may be repeated
  --state FOLDER            where the containers' logs are kept; one agent at a time
  --program COMMAND         what stands for vllm, as JSON list or single word; the simulator
  --image PATTERN           regular expression of images that exist; may be repeated; vllm/vllm-openai
  --pull-ms N               how long a pull takes; 200
  --backoff-ms N            first wait before a restart; 10000
  --addresses RANGE         where pods and nodes have their addresses; 10.244.0.0/16
  --env NAME=VALUE          for every container; may be repeated
  --keep-nodes              leave the Node objects behind
The cluster is KUBECONFIG's. Variables SIMULATOR_* are handed on to the containers.`;

const PATHS: readonly string[] = ['SIMULATOR_KNOWLEDGE', 'SIMULATOR_MODELS'];

export type Settings = Omit<NodesOptions, 'kubeConfig' | 'logger'>;

/** Reads the command line. Throws NodesError. */
export function readSettings(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Settings {
  const values = parsed(args);
  if (values.state === undefined) throw new NodesError('--state is missing.', USAGE);
  const backoff: Partial<BackoffTiming> =
    values['backoff-ms'] === undefined ? {} : { baseMs: number('backoff-ms', values['backoff-ms']) };
  return {
    nodes: (values.node ?? ['gpu-1=4xA100-80GB']).map(nodeSpec),
    stateFolder: values.state,
    program: values.program === undefined ? undefined : program(values.program),
    images: values.image?.map((pattern) => new RegExp(pattern)),
    pullMs: values['pull-ms'] === undefined ? undefined : number('pull-ms', values['pull-ms']),
    backoff,
    addressRange: values.addresses,
    removeNodes: values['keep-nodes'] !== true,
    environment: { ...handedOn(environment), ...Object.fromEntries((values.env ?? []).map(variable)) },
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        node: { type: 'string', multiple: true },
        state: { type: 'string' },
        program: { type: 'string' },
        image: { type: 'string', multiple: true },
        'pull-ms': { type: 'string' },
        'backoff-ms': { type: 'string' },
        addresses: { type: 'string' },
        env: { type: 'string', multiple: true },
        'keep-nodes': { type: 'boolean' },
      },
    }).values;
  } catch (error) {
    throw new NodesError((error as Error).message, USAGE);
  }
}

function nodeSpec(text: string): NodesOptions['nodes'][number] {
  const match = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)(?:=(\d+)x([-A-Za-z0-9._]+))?$/.exec(text);
  if (match === null) throw new NodesError(`--node ${text}: this is no node.`, USAGE);
  const [, name = '', , gpus, gpuProduct] = match;
  return gpuProduct === undefined ? { name } : { name, gpus: Number(gpus), gpuProduct };
}

function program(text: string): readonly string[] {
  if (!text.startsWith('[')) return [text];
  const list: unknown = JSON.parse(text);
  if (!Array.isArray(list) || list.length === 0 || list.some((item) => typeof item !== 'string')) {
    throw new NodesError('--program: a list of words is needed.', USAGE);
  }
  return list as string[];
}

function variable(text: string): [name: string, value: string] {
  const at = text.indexOf('=');
  if (at < 1) throw new NodesError(`--env ${text}: NAME=VALUE is needed.`, USAGE);
  return [text.slice(0, at), text.slice(at + 1)];
}

/** Containers run in folders of their own: relative paths become absolute ones. */
function handedOn(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const own = Object.entries(environment).flatMap(([name, value]) =>
    name.startsWith('SIMULATOR_') && value ? [[name, PATHS.includes(name) ? resolve(value) : value]] : [],
  );
  return Object.fromEntries(own);
}

function number(name: string, text: string): number {
  const value = Number(text);
  if (!(value >= 0)) throw new NodesError(`--${name} ${text}: a number of milliseconds is needed.`, USAGE);
  return value;
}
