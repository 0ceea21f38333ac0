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

/** Its last attempt has ended before a compensation begins: a claim after the end, or an apply after the removal, would stay for ever. */
const settled = {
  ...attempts,
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
} as const;

const claiming = proxyActivities<ReleaseActivities>(settled);

const applying = proxyActivities<ReleaseActivities>({ ...settled, heartbeatTimeout: '20 seconds' });

export const activities: Activities = {
  registerRelease: claiming.registerRelease,
  checkPreflight: short.checkPreflight,
  evaluateCandidate: long.evaluateCandidate,
  provideServing: applying.provideServing,
  removeServing: short.removeServing,
  planGate: short.planGate,
  moveTraffic: short.moveTraffic,
  watchGuards: short.watchGuards,
  judgeCanary: short.judgeCanary,
  holdCanary: short.holdCanary,
  notify: short.notify,
  endRelease: short.endRelease,
};
