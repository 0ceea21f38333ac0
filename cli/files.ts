import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { SlipwayError } from '../domain/errors.ts';
import { parseGoldenSet } from '../domain/evaluation/golden.ts';
import { parseGuardrailsFile } from '../domain/guardrails/guardrails.ts';
import { type PolicyInput, policyInputSchema } from '../domain/policy/schema.ts';
import { parsePromptFile } from '../domain/prompt/parse.ts';
import { isPath, parseReleaseFile, type ReleaseFile, requestToJson } from '../domain/release/parse.ts';
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

/** What can be pushed: where to, and what a file of it says. */
const kinds = {
  prompt: { path: '/v1/prompts', parse: parsePromptFile as Parse },
  'golden-set': { path: '/v1/golden-sets', parse: parseGoldenSet as Parse },
  guardrails: { path: '/v1/guardrails', parse: parseGuardrailsFile as Parse },
};
export type DocumentKind = keyof typeof kinds;

export function pathOf(kind: DocumentKind): string {
  return kinds[kind].path;
}

/** Pushes a file; `fallback` names it when the file itself does not. */
export async function pushFile(
  api: ApiClient,
  kind: DocumentKind,
  file: string,
  fallback: string | undefined,
): Promise<Pushed> {
  const { path, parse } = kinds[kind];
  const { name: ownName, content } = await parseFile(file, parse);
  const name = ownName ?? fallback;
  if (name === undefined) {
    throw new SlipwayError('INPUT_INVALID', `${file} does not say its name`, {
      field: 'name',
      remedy: 'Add name: to the file, or give --name',
    });
  }
  return api.call<Pushed>('POST', path, { name, content });
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
 * place of the paths. `told` hears of each push.
 */
export async function releaseRequest(
  api: ApiClient,
  file: string,
  told: (kind: DocumentKind, pushed: Pushed) => void,
): Promise<unknown> {
  const release = await parseFile(file, parseReleaseFile);
  const beside = (path: string) => resolve(dirname(file), path);
  const referenceTo = async <T extends string | undefined>(kind: DocumentKind, named: T) => {
    if (named === undefined || !isPath(named)) return named;
    const pushed = await pushFile(api, kind, beside(named), release.application);
    told(kind, pushed);
    return `${pushed.name}@${pushed.version}`;
  };
  // Everything local is judged before the first push.
  const policy = await policyOf(release.policy, beside);
  const model = await modelOf(release.model, beside);
  const prompt = (await referenceTo('prompt', release.prompt)) as string;
  const goldenSet = await referenceTo('golden-set', release.goldenSet);
  const guardrails = await referenceTo('guardrails', release.guardrails);
  const { application, runtime, rollback, webhook } = release;
  return requestToJson({
    application,
    prompt,
    goldenSet,
    guardrails,
    model,
    runtime,
    rollback,
    policy,
    webhook,
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

/** Reads a policy file, without the defaults that it leaves out. */
export function policyFile(file: string): Promise<PolicyInput> {
  return parseFile(file, (text) =>
    validate(policyInputSchema, parseYaml(text, 'POLICY_INVALID') ?? {}, 'POLICY_INVALID'),
  );
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
