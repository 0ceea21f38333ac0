import type { WorkflowExecutionDescription, WorkflowHandle } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { SlipwayError } from '../../domain/errors.ts';
import type { StoryLine } from '../../domain/release/story.ts';
import type { Arm, Phase, Stage } from '../../domain/words.ts';
import { type ArmCount, countArms } from '../../store/ledger.ts';
import { findRelease, listEvents, type ReleaseRow } from '../../store/releases.ts';
import { queries, type ReleaseOutcome, type ReleaseStatus } from '../../workflows/messages.ts';
import type { ApiContext } from '../context.ts';
import { cannotAnswer, codedFailure, isGone, noSuchRelease } from './failures.ts';
import { promptly, workflowIdOf } from './workflow.ts';

/** How long a reader waits for a worker before the mirror in the store has to do. */
const QUERY_MS = 3_000;

/** What an activity of the release that is not done yet says of itself. */
export interface PendingActivity {
  activity: string;
  attempt: number;
  /** Why the last attempt ended, e.g. "412 of 1000 samples"; null while the first one runs. */
  message: string | null;
  /** Coded type of that failure: `NOT_YET` for a watch that looks again. */
  code: string | null;
  /** What the running attempt reports in its heartbeats. */
  progress: unknown;
  nextAttemptAt: Date | null;
}

export interface ReleaseView {
  release: string;
  application: string;
  requester: string;
  stage: Stage;
  phase: Phase;
  reason: string | null;
  candidate: string | null;
  stable: string | null;
  /** null when only the mirror in the store could be read. */
  weight: { desired: number; observed: number } | null;
  evidence: string | null;
  verdict: string | null;
  horizon: { index: number; at: Date } | null;
  /** When it claimed its application; of one that was refused that, when it was asked for. */
  startedAt: Date;
  canarySince: Date | null;
  endedAt: Date | null;
  /** What the ledger holds of each arm; null before the canary. */
  samples: Record<Arm, ArmCount> | null;
  pending: PendingActivity[];
  /** Did the workflow itself answer? Otherwise this is what it last wrote into the store. */
  live: boolean;
}

/** A release as its two sources know it: the workflow is the truth, the row its mirror. At least one of them is there. */
export interface Sources {
  id: string;
  row: ReleaseRow | null;
  handle: WorkflowHandle;
  /** null when Temporal has forgotten the workflow. */
  description: WorkflowExecutionDescription | null;
}

/** @throws SlipwayError RELEASE_NOT_FOUND */
export async function sourcesOf({ database, temporal }: ApiContext, id: string): Promise<Sources> {
  const row = await findRelease(database, id);
  const handle = temporal.workflow.getHandle(row?.workflowId ?? workflowIdOf(id));
  const description = await promptly(temporal, () => handle.describe()).catch((error: unknown) => {
    if (isGone(error)) return null;
    throw error;
  });
  if (row === null && description === null) throw noSuchRelease(id);
  return { id, row, handle, description };
}

/** Asks the workflow; null when no worker answers for it or Temporal has forgotten it. */
async function ask<T>({ temporal }: ApiContext, query: () => Promise<T>): Promise<T | null> {
  try {
    return await temporal.withDeadline(Date.now() + QUERY_MS, query);
  } catch (error) {
    if (cannotAnswer(error) || isGone(error)) return null;
    throw error;
  }
}

/**
 * What the workflow says of its release; null when it cannot say it. One that completed said it with its result: to query it its worker
 * would have to replay it all, and Temporal's SDK may lose one of two queries that meet there.
 */
export async function statusFrom(
  context: ApiContext,
  { handle, description }: Sources,
): Promise<ReleaseStatus | null> {
  if (description === null) return null;
  if (description.status.name !== 'COMPLETED') return ask(context, () => handle.query(queries.status));
  const outcome: ReleaseOutcome = await promptly(context.temporal, () => handle.result());
  return outcome.status;
}

export async function viewOf(context: ApiContext, sources: Sources): Promise<ReleaseView> {
  const { id, row, description } = sources;
  const status = await statusFrom(context, sources);
  if (status === null && row === null) return refusedView(id, description);
  const failure = await failureOf(sources);
  const swept = failure !== null && row !== null && row.endedAt !== null;
  const merged = {
    ...fromRow(row),
    ...fromStatus(status),
    ...(swept ? sweptView(row) : {}),
    // As the list says it: the workflow's own start is a moment earlier.
    ...(row === null ? {} : { startedAt: row.createdAt }),
  } as Omit<ReleaseView, 'samples' | 'pending' | 'live'>;
  return {
    ...merged,
    release: id,
    ...(failure === null || swept ? {} : { phase: 'Degraded' as const, reason: merged.reason ?? failure }),
    // One that its workflow left behind has not ended before a sweep ends it; one without a row was refused.
    endedAt: row !== null || failure === null ? (row?.endedAt ?? null) : (description?.closeTime ?? null),
    samples: merged.canarySince === null ? null : await countArms(context.database, id),
    pending: description === null ? [] : pendingOf(description),
    live: status !== null,
  };
}

/** A sweep has ended the release for its workflow, which still tells what it was doing when it ended. */
function sweptView({ stage, phase, reason }: ReleaseRow): Partial<ReleaseView> {
  return { stage, phase, reason, weight: { desired: 0, observed: 0 } };
}

function fromRow(row: ReleaseRow | null): Partial<ReleaseView> {
  if (row === null) return {};
  return {
    application: row.application,
    requester: row.requester,
    stage: row.stage,
    phase: row.phase,
    reason: row.reason,
    candidate: row.candidate,
    stable: row.stable,
    weight: null,
    evidence: null,
    verdict: null,
    horizon: null,
    startedAt: row.createdAt,
    canarySince: row.canarySince,
  };
}

function fromStatus(status: ReleaseStatus | null): Partial<ReleaseView> {
  if (status === null) return {};
  const { horizon, startedAt, canarySince, release: _, ...rest } = status;
  return {
    ...rest,
    horizon: horizon === null ? null : { index: horizon.index, at: new Date(horizon.at) },
    startedAt: new Date(startedAt),
    canarySince: canarySince === null ? null : new Date(canarySince),
  };
}

/** Neither a row nor a worker that answers: all that is known is that it was started. */
function refusedView(id: string, description: WorkflowExecutionDescription | null): never {
  throw new SlipwayError('DEPENDENCY_UNAVAILABLE', `${id} was started, and no worker has taken it yet`, {
    field: 'release',
    value: id,
    remedy: `See that a release worker polls ${description?.taskQueue ?? 'the task queue'}`,
  });
}

/** Why the workflow ended without an outcome; null while it runs and when it ended as it should. */
async function failureOf({ handle, description }: Sources): Promise<string | null> {
  switch (description?.status.name) {
    case 'FAILED': {
      const error = await handle.result().catch((failure: unknown) => failure);
      return codedFailure(error)?.message ?? 'the workflow failed: see it in Temporal';
    }
    case 'TERMINATED':
      return 'the workflow was terminated in Temporal';
    case 'TIMED_OUT':
      return 'the workflow timed out';
    case 'CANCELLED':
      return 'the workflow was cancelled in Temporal';
    default:
      return null;
  }
}

/**
 * The story so far, told by the workflow while it runs; null when no worker answers. Afterwards by the store, to which the workflow's last
 * activity told it all. One that died is asked all the same for what it told no activity; then comes what its sweep told.
 */
export async function storyOf(
  context: ApiContext,
  { id, row, handle, description }: Sources,
): Promise<StoryLine[] | null> {
  const closed = description?.closeTime;
  const died = closed !== undefined && description?.status.name !== 'COMPLETED';
  if (description === null || (row?.endedAt && !died)) return mirroredStory(context, id);
  const told = await ask(context, () => handle.query(queries.explain));
  if (told === null || !died) return told;
  const later = (await mirroredStory(context, id)).filter(({ at }) => new Date(at) > closed);
  return [...told, ...later];
}

/** What the store has of the story: all that the workflow told before it last began an activity. */
export async function mirroredStory({ database }: ApiContext, id: string): Promise<StoryLine[]> {
  const events = await listEvents(database, id);
  return events
    .filter((event) => event.kind === 'progress')
    .map(({ at, details }) => ({
      at: at.toISOString(),
      stage: details.stage as Stage,
      text: String(details.text),
    }));
}

export function pendingOf(description: WorkflowExecutionDescription): PendingActivity[] {
  return (description.raw.pendingActivities ?? []).map((activity) => ({
    activity: activity.activityType?.name ?? 'activity',
    attempt: activity.attempt ?? 1,
    message: activity.lastFailure?.message ?? null,
    code: activity.lastFailure?.applicationFailureInfo?.type ?? null,
    progress: heartbeatOf(activity.heartbeatDetails?.payloads?.[0]),
    nextAttemptAt: dateOf(activity.nextAttemptScheduleTime),
  }));
}

function heartbeatOf(
  payload: Parameters<typeof defaultPayloadConverter.fromPayload>[0] | undefined,
): unknown {
  return payload === undefined ? null : (defaultPayloadConverter.fromPayload(payload) ?? null);
}

function dateOf(time: { seconds?: unknown; nanos?: number | null } | null | undefined): Date | null {
  const ms = Number(time?.seconds ?? 0) * 1_000 + Number(time?.nanos ?? 0) / 1e6;
  return ms > 0 ? new Date(ms) : null;
}
