import {
  isGrpcDeadlineError,
  isGrpcServiceError,
  QueryNotRegisteredError,
  ServiceError,
  WorkflowNotFoundError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { catalogue, type ErrorCode, type ErrorDetails, SlipwayError } from '../../domain/errors.ts';

/** The coded error that a workflow or an activity failed with, wherever in the chain of causes; null when there is none. */
export function codedFailure(error: unknown): SlipwayError | null {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at instanceof SlipwayError) return at;
    if (at instanceof ApplicationFailure && at.type && Object.hasOwn(catalogue, at.type)) {
      const { field, value, remedy } = (at.details?.[0] ?? {}) as ErrorDetails;
      return new SlipwayError(at.type as ErrorCode, at.message, { field, value, remedy }, { cause: error });
    }
  }
  return null;
}

/** Temporal answers, but nobody polls for the release's work. */
export function isWorkerSilent(error: unknown): boolean {
  if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError) return true;
  return isGrpcDeadlineError(error) || (error instanceof Error && isWorkerSilent(error.cause));
}

/**
 * The query has no answer now: nobody polls for the workflow's work, its code cannot answer, or too many queries wait for it already. Whoever
 * asked has the mirror in the store.
 */
export function cannotAnswer(error: unknown): boolean {
  if (error instanceof QueryNotRegisteredError || isWorkerSilent(error)) return true;
  return error instanceof ServiceError || isGrpcServiceError(error);
}

export function isGone(error: unknown): boolean {
  return error instanceof WorkflowNotFoundError;
}

export function silentWorker(cause: unknown): SlipwayError {
  return new SlipwayError(
    'DEPENDENCY_UNAVAILABLE',
    'no worker took this in time',
    { remedy: 'See that a release worker runs and reaches Temporal, then ask again' },
    { cause },
  );
}

export function noSuchRelease(id: string): SlipwayError {
  return new SlipwayError('RELEASE_NOT_FOUND', `there is no release ${id}`, {
    field: 'release',
    value: id,
    remedy: 'slipway release list shows the releases',
  });
}
