import { getClient } from '@temporalio/activity';
import type { Logger } from 'pino';
import type { ReleaseActivities } from '../activities/contract.ts';
import { createEvaluationActivities } from '../activities/evaluation.ts';
import { createEvidenceActivities } from '../activities/evidence.ts';
import { measureGuards } from '../activities/guards.ts';
import { createNoticesActivities } from '../activities/notices.ts';
import { createPreflightActivities } from '../activities/preflight.ts';
import { mirroringProgress } from '../activities/progress.ts';
import { createReapingActivities } from '../activities/reaping.ts';
import { createReleaseActivities } from '../activities/releases.ts';
import { createServingActivities } from '../activities/serving.ts';
import { createSweepingActivities } from '../activities/sweeping.ts';
import { createTrafficActivities } from '../activities/traffic.ts';
import type { Judge } from '../adapters/judge/judge.ts';
import type { Prometheus } from '../adapters/prometheus/prometheus.ts';
import type { ServingAdapter } from '../adapters/serving/adapter.ts';
import { createExecutions } from '../adapters/temporal/executions.ts';
import { createAskEndpoint } from '../adapters/vllm/ask.ts';
import type { Database } from '../store/database.ts';
import type { HousekeepingActivities } from './worker.ts';

/** The outside systems that the activities act on. */
export interface Outside {
  db: Database;
  serving: ServingAdapter;
  prometheus: Prometheus;
  /** null: none is configured; golden sets with a rubric wait for one. */
  judge: Judge | null;
  webhookSecret?: string | undefined;
  /** What the engines ask of their callers (vLLM's --api-key). */
  vllmApiKey?: string | undefined;
}

/** Every activity of the workflows, wired to the outside. */
export function createActivities(outside: Outside, log: Logger): ReleaseActivities & HousekeepingActivities {
  const { db, serving, prometheus, judge, webhookSecret } = outside;
  const ofReleases = mirroringProgress(db, {
    ...createReleaseActivities({ db, log }),
    ...createPreflightActivities({ db, adapter: serving, prometheus, log }),
    ...createEvaluationActivities({ db, ask: createAskEndpoint(outside.vllmApiKey), judge, log }),
    ...createServingActivities({ db, adapter: serving, prometheus, log }),
    ...createTrafficActivities({ db, adapter: serving, log }),
    ...createEvidenceActivities({ db, log, measureGuards: (subject) => measureGuards(prometheus, subject) }),
    ...createNoticesActivities({ db, log, webhookSecret }),
  });
  return {
    ...ofReleases,
    ...createReapingActivities({ db, adapter: serving, log }),
    // The namespace that a worker works in is the one in which its releases live.
    ...createSweepingActivities({ db, executions: createExecutions(getClient), log }),
  };
}
