import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowExecutionAlreadyStartedError, type WorkflowHandle } from '@temporalio/client';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { SlipwayError } from '../../domain/errors.ts';
import type { ReleaseInput, ReleaseSpec } from '../../domain/release/spec.ts';
import { getGoldenSet } from '../../store/golden-sets.ts';
import { getGuardrails } from '../../store/guardrails.ts';
import { getPrompt } from '../../store/prompts.ts';
import { activeRelease, findRelease, saveSpec } from '../../store/releases.ts';
import { findRoute } from '../../store/routes.ts';
import { RELEASE_WORKFLOW } from '../../workflows/messages.ts';
import type { ApiContext } from '../context.ts';
import { codedFailure } from './failures.ts';
import { promptly, workflowIdOf } from './workflow.ts';

const applicationAttribute = defineSearchAttributeKey('SlipwayApplication', SearchAttributeType.KEYWORD);

/** How long the caller waits to hear whether the release was registered or refused. */
const REGISTRATION_MS = 10_000;
const POLL_MS = 100;

export interface StartedRelease {
  release: string;
  application: string;
  /** False: the same request was made before. */
  created: boolean;
  /** False: no worker has taken it yet; it starts when one does. */
  registered: boolean;
}

/**
 * Starts a release, once per application and key, whoever repeats the request and on whichever replica.
 * @throws SlipwayError RELEASE_KEY_REUSED, APPLICATION_HAS_RELEASE, …_NOT_FOUND, INPUT_INVALID, and what the registration refuses
 */
export async function startRelease(
  context: ApiContext,
  spec: ReleaseSpec,
  requester: string,
  key: string = randomUUID(),
): Promise<StartedRelease> {
  const { database } = context;
  const { application } = spec;
  const release = releaseId(application, key);
  await checkReferences(context, spec);
  const earlier = await findRelease(database, release);
  const active = earlier === null ? await activeRelease(database, application) : null;
  if (active !== null && active.id !== release) throw hasRelease(application, active.id);
  const digest = await saveSpec(database, spec);
  if (earlier !== null) {
    if (earlier.spec !== digest) throw keyReused(release);
    return { release, application, created: false, registered: true };
  }
  const { handle, created } = await begin(context, release, spec, {
    application,
    prompt: spec.prompt,
    key,
    requester,
    spec: digest,
  });
  return { release, application, created, registered: await registered(context, release, handle) };
}

/** The same key on the same application is the same release. */
export function releaseId(application: string, key: string): string {
  const hash = createHash('sha256').update(application).update('\0').update(key).digest();
  const letters = [...hash.subarray(0, 10)].map((byte) => 'abcdefghjkmnpqrstvwxyz0123456789'[byte % 32]);
  return `${application}-${letters.join('')}`;
}

async function begin(
  { temporal, taskQueue }: ApiContext,
  release: string,
  spec: ReleaseSpec,
  input: ReleaseInput,
): Promise<{ handle: WorkflowHandle; created: boolean }> {
  const workflowId = workflowIdOf(release);
  try {
    const handle = await promptly(temporal, () =>
      temporal.workflow.start(RELEASE_WORKFLOW, {
        workflowId,
        taskQueue,
        args: [input],
        // A release that failed was refused at its registration and touched nothing: the same key may try again.
        workflowIdReusePolicy: 'ALLOW_DUPLICATE_FAILED_ONLY',
        workflowIdConflictPolicy: 'FAIL',
        memo: { spec: input.spec },
        typedSearchAttributes: [{ key: applicationAttribute, value: spec.application }],
        staticSummary: `${spec.application}: ${spec.prompt}`,
        staticDetails: `Release \`${release}\`, asked for by ${input.requester}`,
      }),
    );
    return { handle, created: true };
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    const handle = temporal.workflow.getHandle(workflowId);
    const { memo } = await promptly(temporal, () => handle.describe());
    if (memo?.spec !== input.spec) throw keyReused(release);
    return { handle, created: false };
  }
}

/** Waits until the release is registered or refused; false when no worker says either in time. */
async function registered(
  { database, temporal }: ApiContext,
  release: string,
  handle: WorkflowHandle,
): Promise<boolean> {
  const deadline = performance.now() + REGISTRATION_MS;
  while (performance.now() < deadline) {
    if ((await findRelease(database, release)) !== null) return true;
    const { status } = await promptly(temporal, () => handle.describe());
    if (status.name === 'FAILED') {
      await handle.result().catch((error: unknown) => {
        throw codedFailure(error) ?? error;
      });
    }
    if (status.name !== 'RUNNING') break;
    await delay(POLL_MS);
  }
  return (await findRelease(database, release)) !== null;
}

async function checkReferences({ database }: ApiContext, spec: ReleaseSpec): Promise<void> {
  await Promise.all([
    getPrompt(database, spec.prompt),
    getGoldenSet(database, spec.policy.evaluation.goldenSet),
    spec.guardrails === undefined ? null : getGuardrails(database, spec.guardrails),
  ]);
  if ((await findRoute(database, spec.application)) !== null) return;
  for (const field of ['model', 'runtime', 'guardrails'] as const) {
    if (spec[field] !== undefined) continue;
    throw new SlipwayError(
      'INPUT_INVALID',
      `${field} is missing: ${spec.application} serves nothing yet that it could be taken from`,
      { field, remedy: `Give ${field} in the first release of an application` },
    );
  }
}

function keyReused(release: string): SlipwayError {
  return new SlipwayError('RELEASE_KEY_REUSED', `the idempotency key started ${release}, with another spec`, {
    field: 'idempotency-key',
    remedy: 'Use a new key for a new release; repeat the spec as it was to find the old one',
  });
}

function hasRelease(application: string, active: string): SlipwayError {
  return new SlipwayError(
    'APPLICATION_HAS_RELEASE',
    `${application} already has the active release ${active}`,
    {
      field: 'application',
      value: application,
      remedy: `Wait until it has ended, or abort it: slipway release abort ${active}`,
    },
  );
}
