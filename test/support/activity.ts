import { asyncLocalStorage, Context, type Info } from '@temporalio/activity';
import { ApplicationFailure, noopMetricMeter } from '@temporalio/common';
import { NOT_YET } from '../../activities/watch.ts';

/** When the activities of tests are asked for: a Monday. */
export const ASKED_AT = Date.UTC(2026, 0, 5);

export interface Attempt {
  /** From 1 on. */
  attempt?: number;
  /** Ms of the server's clock since the activity was asked for. */
  after?: number;
  /** When it was asked for, ms since 1970; ASKED_AT unless said. */
  asked?: number;
  /** What an earlier attempt told last in its heartbeat. */
  told?: unknown;
  /** Hears the details of its heartbeats. */
  heard?: (details: unknown) => void;
}

/** Runs an activity's code as one attempt of an activity, without a server. */
export function asAttempt<T>(
  work: () => Promise<T>,
  { attempt = 1, after = 0, asked = ASKED_AT, told, heard = () => {} }: Attempt = {},
): Promise<T> {
  const info = {
    activityId: '1',
    activityType: 'test',
    attempt,
    scheduledTimestampMs: asked,
    currentAttemptScheduledTimestampMs: asked + after,
    heartbeatDetails: told,
  } as Info;
  const silent = () => {};
  const log = { log: silent, trace: silent, debug: silent, info: silent, warn: silent, error: silent };
  const never = new Promise<never>(silent);
  const signal = new AbortController().signal;
  const context = new Context(info, never, signal, heard, undefined, log, noopMetricMeter, {});
  return asyncLocalStorage.run(context, work);
}

/** Retries a watch as the server would, by its own delays, but on a clock that only counts them; tells every "not yet" and every heartbeat. */
export async function watched<T>(
  work: () => Promise<T>,
  told: (message: string) => void = () => {},
  pauseMs = 20,
): Promise<T> {
  let after = 0;
  let last: unknown;
  for (let attempt = 1; attempt < 2_000; attempt++) {
    try {
      const heard = (details: unknown) => {
        last = details;
        if (typeof details === 'string') told(details);
      };
      return await asAttempt(work, { attempt, after, told: last, heard });
    } catch (error) {
      if (!(error instanceof ApplicationFailure) || error.type !== NOT_YET) throw error;
      told(error.message);
      after += Number(error.nextRetryDelay);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }
  throw new Error('the watch never ended');
}
