import { z } from 'zod';
import { SlipwayError } from '../errors.ts';
import { completePolicy, draftPolicy } from '../policy/parse.ts';
import { policyInputSchema, reference } from '../policy/schema.ts';
import { countFlag, shareFlag } from '../serving/flags.ts';
import type { RuntimeSpec } from '../serving/serving.ts';
import { hints, parseYaml, validate } from '../validation.ts';
import type { ReleaseSpec } from './spec.ts';

const positive = z.number().gt(0);
const count = z.number().int().min(1);
const dollars = z.number().min(0);

export const applicationName = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'is no name for an application');
hints.add(applicationName, { remedy: 'Use lower case letters, digits and dashes, at most 63 of them' });

/** `sha256:` and 64 hex digits. */
export const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'is not a digest');
hints.add(digest, { remedy: 'Give sha256: and 64 hex digits' });

const architecture = z.strictObject({
  layers: count,
  kvHeads: count,
  headDim: positive,
  kvBytes: positive,
  slidingWindow: z.strictObject({ layers: count, tokens: count }).optional(),
  weightsGiB: positive,
});

export const modelSchema = z.strictObject({
  name: z.string().min(1),
  architecture,
  price: z.strictObject({ inputPerMillion: dollars, outputPerMillion: dollars }),
});

const flagName = z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, 'is no name of a flag');

/** A tag may move to another image; a digest cannot. */
export const pinnedImage = z
  .string()
  .regex(/^[^\s@]+@sha256:[0-9a-f]{64}$/, 'is no image pinned by its digest');
hints.add(pinnedImage, { remedy: 'Give repository/name@sha256: and 64 hex digits' });

export const runtimeSchema = z.strictObject({
  flags: z.record(flagName, z.union([z.string(), z.number(), z.boolean()])),
  gpu: z.strictObject({ kind: z.string().min(1), memoryGiB: positive, count }),
  concurrency: count,
  replicas: count,
  image: pinnedImage.optional(),
});
hints.add(runtimeSchema.shape.flags, {
  remedy: "Write vLLM's long flags without the leading dashes, e.g. max-model-len: 8192",
});

const webhook = z.url({ protocol: /^https?$/ });
hints.add(webhook, { remedy: 'Give an http or https address' });

/** What `POST /v1/releases` takes: everything by reference, the policy over the default one. */
export const releaseRequestSchema = z.strictObject({
  application: applicationName,
  prompt: reference,
  goldenSet: reference.optional(),
  guardrails: reference.optional(),
  model: modelSchema.optional(),
  runtime: runtimeSchema.optional(),
  rollback: digest.optional(),
  policy: policyInputSchema.optional(),
  webhook: webhook.optional(),
});
export type ReleaseRequest = z.output<typeof releaseRequestSchema>;

/** The request as it goes over the wire, durations as `7d`. */
export function requestToJson(request: ReleaseRequest): unknown {
  return z.encode(releaseRequestSchema, request);
}

/**
 * The spec that the request asks for, complete and checked.
 * @throws SlipwayError POLICY_INVALID, INPUT_INVALID
 */
export function releaseSpecOf(request: ReleaseRequest): ReleaseSpec {
  const { policy, goldenSet, ...rest } = request;
  if (rest.runtime !== undefined) checkFlags(rest.runtime);
  return { ...rest, policy: completePolicy(draftPolicy(policy ?? {}, 'policy.'), goldenSet, 'policy.') };
}

/** Slipway gives these itself; an API key does not belong into a spec that everybody may read. */
const ownFlags = new Set(['model', 'served-model-name', 'host', 'port', 'uds', 'api-key', 'hf-token']);

/** @throws SlipwayError INPUT_INVALID */
export function checkFlags(runtime: RuntimeSpec): void {
  const own = Object.keys(runtime.flags).find((name) => ownFlags.has(name));
  if (own !== undefined) {
    throw new SlipwayError('INPUT_INVALID', `runtime.flags.${own} is set by Slipway itself`, {
      field: `runtime.flags.${own}`,
      remedy: 'Remove it',
    });
  }
  for (const name of [
    'max-model-len',
    'max-num-seqs',
    'max-num-batched-tokens',
    'tensor-parallel-size',
    'pipeline-parallel-size',
  ]) {
    countFlag(runtime, name);
  }
  shareFlag(runtime, 'gpu-memory-utilization');
}

/** A reference, or the path of a file relative to the release file, which the command line pushes first. */
const referenceOrPath = z.string().refine((text) => isPath(text) || reference.safeParse(text).success, {
  error: 'is neither a name@n nor a path',
});
hints.add(referenceOrPath, {
  remedy: 'Name a pushed version as name@n, or a file by a path that begins with ./',
});

const path = z.string().refine(isPath, { error: 'is not a path' });
hints.add(path, { remedy: 'Give a path that begins with ./' });

/** Does a release file mean a file beside it? */
export function isPath(text: string): boolean {
  return /^(\.{0,2}\/)/.test(text);
}

/** A release as people keep it in a repository: like the request, with files in the place of references. */
const releaseFileSchema = releaseRequestSchema.extend({
  prompt: referenceOrPath,
  goldenSet: referenceOrPath.optional(),
  guardrails: referenceOrPath.optional(),
  policy: z.union([path, policyInputSchema], { error: 'is neither a path nor a policy' }).optional(),
  model: z
    .strictObject({
      name: z.string().min(1),
      config: path.optional(),
      architecture: architecture.omit({ weightsGiB: true }).optional(),
      weightsGiB: positive,
      price: modelSchema.shape.price,
    })
    .optional(),
});
export type ReleaseFile = z.output<typeof releaseFileSchema>;

/**
 * Reads a release file in YAML.
 * @throws SlipwayError INPUT_INVALID, POLICY_INVALID
 */
export function parseReleaseFile(yaml: string): ReleaseFile {
  const value = parseYaml(yaml, 'INPUT_INVALID');
  const inline = typeof value === 'object' && value !== null && 'policy' in value ? value.policy : undefined;
  // Judged on its own, because a union could only say that neither alternative fits.
  if (typeof inline === 'object' && inline !== null) {
    validate(z.looseObject({ policy: policyInputSchema }), value, 'INPUT_INVALID');
  }
  const file = validate(releaseFileSchema, value, 'INPUT_INVALID');
  const { model } = file;
  if (model !== undefined && (model.config === undefined) === (model.architecture === undefined)) {
    throw new SlipwayError('INPUT_INVALID', 'model needs its config or its architecture, and not both', {
      field: 'model',
      remedy:
        "Give config: ./config.json (Hugging Face's own), or architecture with layers, kvHeads, headDim, kvBytes",
    });
  }
  return file;
}
