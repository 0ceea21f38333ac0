import { WorkflowUpdateFailedError } from '@temporalio/client';
import { SlipwayError } from '../../domain/errors.ts';
import type { DecisionName } from '../../domain/release/decisions.ts';
import {
  type Approval,
  type Decision,
  queries,
  type ReleaseStatus,
  signals,
  updates,
} from '../../workflows/messages.ts';
import type { ApiContext } from '../context.ts';
import { codedFailure, isGone, isWorkerSilent, silentWorker } from './failures.ts';
import { sourcesOf } from './read.ts';

/** How long a decision waits for a worker. */
const DECISION_MS = 5_000;

/**
 * Hands a decision to the release; its validator judges it before it reaches history.
 * @returns the status after it; null for an abort that no worker has taken yet: it is recorded and takes effect when one does
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
    if (isGone(error)) {
      // Aborting twice is aborting once, also when the first abort is through.
      const { row } = await sourcesOf(context, id);
      if (name !== 'abort' || row?.stage !== 'rolled-back') throw ended(id);
      return handle.query(queries.status).catch(() => null);
    }
    if (!isWorkerSilent(error)) throw error;
    if (name !== 'abort') throw silentWorker(error);
    await handle.signal(signals.abort, decision);
    return null;
  }
}

function ended(id: string): SlipwayError {
  return new SlipwayError('DECISION_REFUSED', `the release ${id} has ended`, {
    field: 'release',
    value: id,
    remedy: 'Start a new release',
  });
}
