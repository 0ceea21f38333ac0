import { digestOf } from './digest.ts';
import { promptRef } from './prompt/prompt.ts';
import { type ModelSpec, type RuntimeSpec, servingDigest } from './serving/serving.ts';

/** What serves: prompt version × model × runtime flags × guardrail config. Immutable, named by its digest. */
export interface Revision {
  digest: string;
  /** `name@n`, for people; the digest below is what binds. */
  prompt: string;
  promptDigest: string;
  model: ModelSpec;
  runtime: RuntimeSpec;
  /** `name@n` of the guardrail config. */
  guardrails: string;
  guardrailsDigest: string;
  /** Digest of the serving that it needs. */
  serving: string;
}

export interface RevisionParts {
  prompt: { name: string; version: number; digest: string };
  model: ModelSpec;
  runtime: RuntimeSpec;
  guardrails: { name: string; version: number; digest: string };
  dedicatedTo: string | null;
}

export function makeRevision(parts: RevisionParts): Revision {
  const serving = servingDigest(parts.model, parts.runtime, parts.dedicatedTo);
  return {
    digest: digestOf({
      kind: 'revision',
      prompt: parts.prompt.digest,
      serving,
      guardrails: parts.guardrails.digest,
    }),
    prompt: promptRef(parts.prompt),
    promptDigest: parts.prompt.digest,
    model: parts.model,
    runtime: parts.runtime,
    guardrails: promptRef(parts.guardrails),
    guardrailsDigest: parts.guardrails.digest,
    serving,
  };
}
