import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { type ErrorCode, SlipwayError } from '../domain/errors.ts';

/** The type of the failure with which a watch says that it is to look again. */
export const NOT_YET = 'NOT_YET';

/**
 * A watch's "not yet": throw it, and the server runs the activity again after `retryInMs` without adding to the history. The message,
 * e.g. "412 of 1000 samples", is what the Temporal UI shows on the pending activity; BENIGN keeps it out of error logs and metrics.
 * The workflow must leave the activity's attempts unlimited.
 */
export function notYet(message: string, retryInMs: number): ApplicationFailure {
  return ApplicationFailure.create({
    type: NOT_YET,
    message,
    nonRetryable: false,
    nextRetryDelay: retryInMs,
    category: ApplicationFailureCategory.BENIGN,
  });
}

/** Errors that end a release: their message becomes its reason, so it says what to do, too. */
const ENDING: readonly ErrorCode[] = [
  'SERVING_FAILED',
  'CAPACITY_EXCEEDED',
  'PREFLIGHT_FAILED',
  'NOT_MEASURABLE',
];

/** The message with its remedy as the last sentence, unless it has it already. */
function reasonOf({ code, message, details: { remedy } }: SlipwayError): string {
  if (remedy === undefined || !ENDING.includes(code) || message.includes(remedy)) return message;
  // After the end of a log a sentence on its line would seem to be vLLM's.
  return message.includes('\n') ? `${message}\n${remedy}` : `${message.replace(/\.$/, '')}. ${remedy}`;
}

/**
 * What cannot get better by trying again, as a failure whose type is the error's code and whose details carry field and remedy. Of errors
 * that end a release the message carries the remedy, too.
 */
export function final(error: SlipwayError): ApplicationFailure {
  return ApplicationFailure.create({
    type: error.code,
    message: reasonOf(error),
    nonRetryable: true,
    details: [error.toJSON()],
    cause: error,
  });
}

/** What may get better by trying again, with the same type and details. */
function passing(error: SlipwayError): ApplicationFailure {
  return ApplicationFailure.create({
    type: error.code,
    message: error.message,
    nonRetryable: false,
    details: [error.toJSON()],
    cause: error,
  });
}

/**
 * Runs the work of an activity; a SlipwayError that it throws is final, unless it says that a system does not answer now. That one and
 * anything else is tried again.
 */
export async function finalErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    throw error.code === 'DEPENDENCY_UNAVAILABLE' ? passing(error) : final(error);
  }
}

/**
 * The server's clock in ms since 1970, also when time is skipped: when this attempt was scheduled. It grows with each retry of a watch.
 * The machine's clock is never asked (it would differ from machine to machine, and from the workflow's).
 */
export function now(): number {
  return activityInfo().currentAttemptScheduledTimestampMs;
}

/** The server's clock when the workflow asked for this activity: the same for every attempt. */
export function askedAt(): number {
  return activityInfo().scheduledTimestampMs;
}

/** How long ago, in ms of the server's clock, the workflow first asked for this activity: the age of a watch. */
export function watchedFor(): number {
  return now() - askedAt();
}

/** The first attempt of this activity; a worker that died in it does not make the next one first. */
export function isFirstAttempt(): boolean {
  return activityInfo().attempt === 1;
}

/** Runs the work of an activity that must come to its end whatever is in its way: no error is final, and what is in its way is told. */
export async function passingErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof SlipwayError ? passing(error) : error;
  }
}
