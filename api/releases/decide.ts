import { WorkflowExecutionAlreadyStartedError, WorkflowUpdateFailedError } from '@temporalio/client';
import { SlipwayError } from '../../domain/errors.ts';
import type { DecisionName } from '../../domain/release/decisions.ts';
import {
  type Approval,
  type Decision,
  type ReleaseStatus,
  SWEEP_WORKFLOW,
  type SweepInput,
  signals,
  sweepIdOf,
  updates,
} from '../../workflows/messages.ts';
import type { ApiContext } from '../context.ts';
import { codedFailure, isGone, isWorkerSilent, silentWorker } from './failures.ts';
import { sourcesOf, statusFrom } from './read.ts';
import { promptly } from './workflow.ts';

/** How long a decision waits for a worker. */
const DECISION_MS = 5_000;

/**
 * Hands a decision to the release; its validator judges it before it reaches history.
 * @returns the status after it; null for an abort that no worker has taken yet, or that a sweep carries out: it is recorded and takes effect
 * @throws SlipwayError DECISION_REFUSED, SIGN_OFF_STALE, SIGN_OFF_BY_REQUESTER, RELEASE_NOT_FOUND, DEPENDENCY_UNAVAILABLE
 */
export async function decide(
  context: ApiContext,
  id: string,
  name: DecisionName,
  decision: Decision | Approval,
): Promise<ReleaseStatus | null> {
  const { handle, description } = await sourcesOf(context, id);
  if (description === null) throw ended(id);
  try {
    return await context.temporal.withDeadline(Date.now() + DECISION_MS, () =>
      // One table of definitions, of which approve takes more than the others.
      handle.executeUpdate(updates[name] as (typeof updates)['abort'], { args: [decision] }),
    );
  } catch (error) {
    if (error instanceof WorkflowUpdateFailedError) throw codedFailure(error) ?? error;
    if (isGone(error)) return decideWithoutWorkflow(context, id, name, decision);
    if (!isWorkerSilent(error)) throw error;
    if (name !== 'abort') throw silentWorker(error);
    await handle.signal(signals.abort, decision);
    return null;
  }
}

/**
 * The workflow has ended. An abort still works: it is one with the abort that is through, and it ends at once, by a sweep, a release that
 * its workflow left behind (terminated, timed out).
 */
async function decideWithoutWorkflow(
  context: ApiContext,
  id: string,
  name: DecisionName,
  { by, reason: why }: Decision,
): Promise<ReleaseStatus | null> {
  const sources = await sourcesOf(context, id);
  const { row } = sources;
  if (name !== 'abort' || row === null) throw ended(id);
  if (row.endedAt === null) {
    await startSweep(context, id, `aborted by ${by}${why ? `: ${why}` : ''}`);
    return null;
  }
  if (row.stage !== 'rolled-back') throw ended(id);
  const status = await statusFrom(context, sources);
  // A workflow that a sweep has ended still tells what it was doing then.
  const { stage, phase, reason } = row;
  return status && { ...status, stage, phase, reason, weight: { desired: 0, observed: 0 } };
}

async function startSweep(
  { temporal, taskQueue }: ApiContext,
  release: string,
  because: string,
): Promise<void> {
  const args: [SweepInput] = [{ release, grace: 0, because }];
  try {
    await promptly(temporal, () =>
      temporal.workflow.start(SWEEP_WORKFLOW, {
        workflowId: sweepIdOf(release),
        taskQueue,
        args,
        staticSummary: `Sweep ${release}`,
      }),
    );
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error; // else one is under way
  }
}

function ended(id: string): SlipwayError {
  return new SlipwayError('DECISION_REFUSED', `the release ${id} has ended`, {
    field: 'release',
    value: id,
    remedy: 'Start a new release',
  });
}
