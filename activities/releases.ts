import type { Logger } from 'pino';
import { SlipwayError } from '../domain/errors.ts';
import type { ReleaseInput, ReleasePlan, ReleaseSpec } from '../domain/release/spec.ts';
import { makeRevision, type Revision } from '../domain/revision.ts';
import { type Database, inTransaction } from '../store/database.ts';
import { getGuardrails } from '../store/guardrails.ts';
import { getPrompt } from '../store/prompts.ts';
import {
  claimApplication,
  endRelease,
  ensureApplication,
  findRelease,
  lastSpec,
  loadSpec,
  saveSpec,
} from '../store/releases.ts';
import { getRevision, saveRevision } from '../store/revisions.ts';
import { findRoute } from '../store/routes.ts';
import { saveServing } from '../store/servings.ts';
import type { ReleaseActivities } from './contract.ts';
import { finalErrors, now } from './watch.ts';

export interface ReleasesDependencies {
  db: Database;
  log: Logger;
}

/** Where a release begins and ends: the claim of its application, and its freeing. */
export function createReleaseActivities({
  db,
  log,
}: ReleasesDependencies): Pick<ReleaseActivities, 'registerRelease' | 'endRelease'> {
  return {
    registerRelease: ({ progress, input, workflowId }) =>
      finalErrors(async () => {
        const plan = await register(db, input, progress.release, workflowId);
        log.info(
          {
            release: plan.release,
            application: plan.application,
            stage: progress.stage,
            candidate: plan.candidate,
          },
          'release registered',
        );
        return plan;
      }),

    async endRelease({ progress, outcome }) {
      const at = new Date(now());
      await inTransaction(db, (tx) => endRelease(tx, progress.release, progress, { outcome, at }));
      log.info(
        { release: progress.release, stage: progress.stage, outcome, reason: progress.reason },
        'release ended',
      );
    },
  };
}

/** Resolves what was asked for, and claims the application; a repeated attempt resolves to the same (invariants 1 and 6). */
async function register(
  db: Database,
  input: ReleaseInput,
  release: string,
  workflowId: string,
): Promise<ReleasePlan> {
  const spec = await specOf(db, input);
  const route = await findRoute(db, spec.application);
  // A repeated attempt sees its own claim: what it compared with then is what counts.
  const claimed = await findRelease(db, release);
  const stable = await revisionOrNull(db, claimed === null ? (route?.stable ?? null) : claimed.stable);
  const candidate = await candidateOf(db, spec, stable, release);
  if (stable?.digest === candidate.digest) {
    throw new SlipwayError(
      'RELEASE_CHANGES_NOTHING',
      `${spec.application} serves ${candidate.prompt} in this form already`,
      {
        field: 'prompt',
        value: spec.prompt,
        remedy:
          'Change the prompt, the model, the runtime flags or the guardrails; a new price comes with the next change',
      },
    );
  }
  if (spec.rollback !== undefined && spec.rollback !== stable?.digest) {
    throw new SlipwayError('PREFLIGHT_FAILED', 'the rollback revision is not the stable revision', {
      field: 'rollback',
      value: spec.rollback,
      remedy: `Name ${stable?.digest ?? 'none: this is a first release'}, or leave the field out`,
    });
  }
  const specDigest = await saveSpec(db, spec);
  const isServed = await inTransaction(db, async (tx) => {
    await ensureApplication(tx, spec.application);
    await saveRevision(tx, candidate);
    const answers = await saveServing(
      tx,
      {
        digest: candidate.serving,
        model: candidate.model,
        runtime: candidate.runtime,
        dedicatedTo: spec.policy.serving.dedicated ? release : null,
      },
      {
        scaling: spec.policy.serving.scaling,
        origin: { application: spec.application, release, revision: candidate.digest },
      },
    );
    await claimApplication(tx, {
      id: release,
      application: spec.application,
      workflowId,
      requester: input.requester,
      spec: specDigest,
      candidate: candidate.digest,
      stable: stable?.digest ?? null,
    });
    return answers;
  });
  return planOf(release, input, spec, candidate, stable, isServed);
}

/** The API has stored the spec; from the Temporal UI a prompt is enough, and the rest is that of the application's last release. */
async function specOf(db: Database, input: ReleaseInput): Promise<ReleaseSpec> {
  if (input.spec !== undefined) return loadSpec(db, input.spec);
  const last = await lastSpec(db, input.application);
  if (last === null) {
    throw new SlipwayError(
      'APPLICATION_NOT_FOUND',
      `${input.application} has had no release to take the policy from`,
      {
        field: 'application',
        value: input.application,
        remedy: 'Make its first release from a file: slipway release create -f release.yaml',
      },
    );
  }
  // Model, runtime and guardrails are the stable revision's.
  return { application: input.application, prompt: input.prompt, policy: last.policy, webhook: last.webhook };
}

async function revisionOrNull(db: Database, digest: string | null): Promise<Revision | null> {
  return digest === null ? null : getRevision(db, digest);
}

async function candidateOf(
  db: Database,
  spec: ReleaseSpec,
  stable: Revision | null,
  release: string,
): Promise<Revision> {
  const needed = <T>(value: T | undefined, field: string): T => {
    if (value !== undefined) return value;
    throw new SlipwayError(
      'INPUT_INVALID',
      `the first release of ${spec.application} does not say its ${field}`,
      {
        field,
        remedy: `Add ${field} to the release; later releases may leave it out and keep the stable revision's`,
      },
    );
  };
  return makeRevision({
    prompt: await getPrompt(db, spec.prompt),
    model: needed(spec.model ?? stable?.model, 'model'),
    runtime: needed(spec.runtime ?? stable?.runtime, 'runtime'),
    guardrails: await getGuardrails(db, needed(spec.guardrails ?? stable?.guardrails, 'guardrails')),
    dedicatedTo: spec.policy.serving.dedicated ? release : null,
  });
}

function planOf(
  release: string,
  input: ReleaseInput,
  { application, policy }: ReleaseSpec,
  candidate: Revision,
  stable: Revision | null,
  candidateIsServed: boolean,
): ReleasePlan {
  return {
    release,
    application,
    requester: input.requester,
    candidate: candidate.digest,
    stable: stable?.digest ?? null,
    candidateServing: candidate.serving,
    stableServing: stable?.serving ?? null,
    sharesServing: candidateIsServed,
    timing: {
      canaryWeight: policy.canary.weight,
      horizons: policy.gate.horizons,
      signOffRequired: policy.signOff.required,
      signOffTimeout: policy.signOff.timeout,
      promotionSteps: policy.promotion.steps,
      hold: policy.promotion.hold,
      baking: policy.baking.duration,
    },
  };
}
