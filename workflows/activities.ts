import { ActivityCancellationType, type ActivityInterfaceFor, proxyActivities } from '@temporalio/workflow';
import type { ReleaseActivities } from '../activities/contract.ts';

type Activities = ActivityInterfaceFor<ReleaseActivities>;

/** Effects and looks are short attempts, repeated until they succeed; what can never succeed says so by a non-retryable failure. */
const attempts = {
  startToCloseTimeout: '1 minute',
  retry: { initialInterval: '1 second', backoffCoefficient: 2, maximumInterval: '15 seconds' },
} as const;

const short = proxyActivities<ReleaseActivities>(attempts);

/** Asks the model many questions: progress is in its heartbeats, and a dead worker is noticed by their absence. */
const long = proxyActivities<ReleaseActivities>({
  ...attempts,
  startToCloseTimeout: '2 hours',
  heartbeatTimeout: '30 seconds',
});

/** Its last attempt has ended before a compensation begins: an apply that finishes after the removal would leave an orphan. */
const settled = proxyActivities<ReleaseActivities>({
  ...attempts,
  heartbeatTimeout: '20 seconds',
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
});

export const activities: Activities = {
  registerRelease: short.registerRelease,
  checkPreflight: short.checkPreflight,
  evaluateCandidate: long.evaluateCandidate,
  provideServing: settled.provideServing,
  removeServing: short.removeServing,
  planGate: short.planGate,
  moveTraffic: short.moveTraffic,
  watchGuards: short.watchGuards,
  judgeCanary: short.judgeCanary,
  notify: short.notify,
  endRelease: short.endRelease,
};
