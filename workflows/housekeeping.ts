import { proxyActivities } from '@temporalio/workflow';
import type { ReapingActivities } from '../activities/reaping.ts';
import type { SweepingActivities } from '../activities/sweeping.ts';

const retry = { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '15 seconds' } as const;

/** Looks are short attempts, repeated until they succeed: the schedule skips its next runs meanwhile. */
export const { findUnfinished, inspectServings } = proxyActivities<
  Pick<SweepingActivities, 'findUnfinished'> & Pick<ReapingActivities, 'inspectServings'>
>({ startToCloseTimeout: '1 minute', retry });

/** Users are on a canary that nobody guards: a worker that dies here is not waited for long. */
export const { beginSweep } = proxyActivities<Pick<SweepingActivities, 'beginSweep'>>({
  startToCloseTimeout: '15 seconds',
  retry,
});

/** Waits for gateways and for requests in flight. What is not through in this time the reaper's next run takes up again. */
export const { reapServing } = proxyActivities<Pick<ReapingActivities, 'reapServing'>>({
  startToCloseTimeout: '2 minutes',
  scheduleToCloseTimeout: '8 minutes',
  heartbeatTimeout: '20 seconds',
  retry,
});
