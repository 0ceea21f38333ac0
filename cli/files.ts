import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { SlipwayError } from '../domain/errors.ts';
import { parseGoldenSet } from '../domain/evaluation/golden.ts';
import { parseGuardrailsFile } from '../domain/guardrails/guardrails.ts';
import { draftPolicy } from '../domain/policy/parse.ts';
import { type PolicyInput, policyInputSchema } from '../domain/policy/schema.ts';
import { checkPrompt } from '../domain/prompt/check.ts';
import { documentName, parsePromptFile } from '../domain/prompt/parse.ts';
import {
  isPath,
  parseReleaseFile,
  type ReleaseFile,
  releaseSpecOf,
  requestToJson,
} from '../domain/release/parse.ts';
import { readArchitecture } from '../domain/serving/architecture.ts';
import type { ModelSpec } from '../domain/serving/serving.ts';
import { parseYaml, validate } from '../domain/validation.ts';
import type { ApiClient } from './client.ts';

export interface Pushed {
  name: string;
  version: number;
  digest: string;
  /** False: the same content was there before. */
  created: boolean;
}

type Parse = (text: string) => { name: string | null; content: unknown };

function parsePrompt(text: string): ReturnType<Parse> {
  const prompt = parsePromptFile(text);
  checkPrompt(prompt.content);
  return prompt;
}

/** What can be pushed: where to, and what a file of it says; a file is judged as the API judges it. */
const kinds = {
  prompt: { path: '/v1/prompts', parse: parsePrompt as Parse },
  'golden-set': { path: '/v1/golden-sets', parse: parseGoldenSet as Parse },
  guardrails: { path: '/v1/guardrails', parse: parseGuardrailsFile as Parse },
};
export type DocumentKind = keyof typeof kinds;

export function pathOf(kind: DocumentKind): string {
  return kinds[kind].path;
}

/** A file that was read and can be pushed. */
interface Document {
  kind: DocumentKind;
  name: string;
  content: unknown;
}

/** Pushes a file; `fallback` names it when the file itself does not. */
export async function pushFile(
  api: ApiClient,
  kind: DocumentKind,
  file: string,
  fallback: string | undefined,
): Promise<Pushed> {
  return push(api, await readDocument(kind, file, fallback));
}

function push(api: ApiClient, { kind, name, content }: Document): Promise<Pushed> {
  return api.call<Pushed>('POST', pathOf(kind), { name, content });
}

async function readDocument(
  kind: DocumentKind,
  file: string,
  fallback: string | undefined,
): Promise<Document> {
  const { name: ownName, content } = await parseFile(file, kinds[kind].parse);
  const name = ownName ?? fallback;
  if (name === undefined) {
    throw new SlipwayError('INPUT_INVALID', `${file} does not say its name`, {
      field: 'name',
      remedy: 'Add name: to the file, or give --name',
    });
  }
  validate(z.object({ name: documentName }), { name }, 'INPUT_INVALID');
  return { kind, name, content };
}

/** What the parser makes of the file; an error says which file it is about. */
export async function parseFile<T>(file: string, parse: (text: string) => T): Promise<T> {
  const text = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new SlipwayError(
      'INPUT_INVALID',
      `${file} cannot be read`,
      {
        field: 'file',
        value: file,
        remedy: 'Name a file that exists; paths in a file count from its folder',
      },
      { cause },
    );
  });
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    throw new SlipwayError(error.code, `${file}: ${error.message}`, error.details, { cause: error });
  }
}

/**
 * Reads a release file, pushes the files that it names, and returns the request for `POST /v1/releases` with their versions in the
 * place of the paths. `told` hears of each push. Before the first push everything is judged that needs no API.
 */
export async function releaseRequest(
  api: ApiClient,
  file: string,
  told: (kind: DocumentKind, pushed: Pushed) => void,
): Promise<unknown> {
  const release = await parseFile(file, parseReleaseFile);
  const beside = (path: string) => resolve(dirname(file), path);
  const { application, runtime, rollback, webhook } = release;
  const policy = await policyOf(release.policy, beside);
  const model = await modelOf(release.model, beside);
  const read = <T extends string | undefined>(kind: DocumentKind, named: T) =>
    named === undefined || !isPath(named) ? named : readDocument(kind, beside(named), application);
  const prompt = await read('prompt', release.prompt);
  const goldenSet = await read('golden-set', release.goldenSet);
  const guardrails = await read('guardrails', release.guardrails);
  const rest = { application, model, runtime, rollback, policy, webhook };
  // Which version a golden set becomes is not known yet: the one that the policy names may be it.
  const awaited = typeof goldenSet === 'object' ? (policy?.evaluation?.goldenSet ?? 'pushed@1') : goldenSet;
  releaseSpecOf({ ...rest, prompt: 'pushed@1', goldenSet: awaited });
  const referenceTo = async (given: Document | string | undefined) => {
    if (typeof given !== 'object') return given;
    const pushed = await push(api, given);
    told(given.kind, pushed);
    return `${pushed.name}@${pushed.version}`;
  };
  return requestToJson({
    ...rest,
    prompt: (await referenceTo(prompt)) as string,
    goldenSet: await referenceTo(goldenSet),
    guardrails: await referenceTo(guardrails),
  });
}

/** What a release file says of its serving, for `POST /v1/manifests`; nothing is pushed. */
export async function servingRequest(file: string): Promise<unknown> {
  const { application, runtime, ...release } = await parseFile(file, parseReleaseFile);
  const beside = (path: string) => resolve(dirname(file), path);
  const policy = await policyOf(release.policy, beside);
  const model = await modelOf(release.model, beside);
  return { application, runtime, model, policy: policy && policyToWire(policy) };
}

async function policyOf(
  policy: ReleaseFile['policy'],
  beside: (path: string) => string,
): Promise<PolicyInput | undefined> {
  return typeof policy === 'string' ? policyFile(beside(policy)) : policy;
}

/** Reads a policy file, without the defaults that it leaves out; it is judged with them. */
export function policyFile(file: string): Promise<PolicyInput> {
  return parseFile(file, (text) => {
    const policy = validate(policyInputSchema, parseYaml(text, 'POLICY_INVALID') ?? {}, 'POLICY_INVALID');
    draftPolicy(policy);
    return policy;
  });
}

/** A policy as the API takes it, durations as `7d`. */
export function policyToWire(policy: PolicyInput): unknown {
  return z.encode(policyInputSchema, policy);
}

async function modelOf(
  model: ReleaseFile['model'],
  beside: (path: string) => string,
): Promise<ModelSpec | undefined> {
  if (model === undefined) return undefined;
  const { name, config, architecture, weightsGiB, price } = model;
  if (architecture !== undefined) return { name, price, architecture: { ...architecture, weightsGiB } };
  const file = beside(config ?? '');
  const read = (text: string) => readArchitecture(parseYaml(text, 'INPUT_INVALID', 'JSON'), weightsGiB);
  return { name, price, architecture: await parseFile(file, read) };
}
