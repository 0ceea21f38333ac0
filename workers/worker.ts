import { fileURLToPath } from 'node:url';
import {
  bundleWorkflowCode,
  NativeConnection,
  type NativeConnectionOptions,
  Runtime,
  Worker,
  type WorkflowBundle,
} from '@temporalio/worker';
import type { Logger } from 'pino';
import type { ReleaseActivities } from '../activities/contract.ts';
import type { ReapingActivities } from '../activities/reaping.ts';
import type { SweepingActivities } from '../activities/sweeping.ts';
import type { Topology } from '../adapters/temporal/topology.ts';

export type HousekeepingActivities = ReapingActivities & SweepingActivities;

export interface WorkerOptions {
  connection: NativeConnection;
  /** Namespace, task queue and limits of temporal.yaml. */
  topology: Topology;
  /** A worker without the housekeeping ones has no part in reaper and sweeper. */
  activities: ReleaseActivities & Partial<HousekeepingActivities>;
  /**
   * The version of this worker's code, for a cluster in which several run side by side: a release stays on the version that it began
   * with (pinned), however long it lives. Left out: unversioned, as on a laptop.
   */
  buildId?: string | undefined;
  /** Made once and shared by workers of one process; left out: made here. */
  bundle?: WorkflowBundle;
}

const workflowsPath = fileURLToPath(new URL('../workflows/index.ts', import.meta.url));

/** Workflow code as the worker runs it: bundled, without Node's modules, and checked for what would not replay. */
export async function bundleWorkflows(log?: Logger): Promise<WorkflowBundle> {
  return bundleWorkflowCode({ workflowsPath, logger: quiet(log) });
}

/** Temporal's core logs through our logger, from its warnings on; metrics at the given address when there is one. */
export function installRuntime(log: Logger, metricsAddress?: string): void {
  Runtime.install({
    logger: quiet(log),
    telemetryOptions: {
      logging: { forward: {}, filter: { core: 'WARN', other: 'WARN' } },
      ...(metricsAddress === undefined ? {} : { metrics: { prometheus: { bindAddress: metricsAddress } } }),
    },
  });
}

export async function connectWorker(options: NativeConnectionOptions): Promise<NativeConnection> {
  return NativeConnection.connect(options);
}

/** A worker for the workflows of workflows/index.ts and their activities; `run()` it. */
export async function createWorker(options: WorkerOptions): Promise<Worker> {
  const { namespace, taskQueue } = options.topology;
  return Worker.create({
    connection: options.connection,
    namespace: namespace.name,
    taskQueue: taskQueue.name,
    workflowBundle: options.bundle ?? (await bundleWorkflows()),
    activities: { ...options.activities },
    ...(options.buildId === undefined
      ? {}
      : {
          workerDeploymentOptions: {
            useWorkerVersioning: true,
            version: { deploymentName: taskQueue.name, buildId: options.buildId },
            defaultVersioningBehavior: 'PINNED' as const,
          },
        }),
    maxConcurrentWorkflowTaskExecutions: taskQueue.worker.maxConcurrentWorkflowTaskExecutions,
    maxConcurrentActivityTaskExecutions: taskQueue.worker.maxConcurrentActivityTaskExecutions,
    maxCachedWorkflows: taskQueue.worker.maxCachedWorkflows,
    shutdownGraceTime: taskQueue.worker.shutdownGraceTime,
  });
}

/** The SDK's levels on pino's methods; what is below a warning is the SDK's own business. */
function quiet(log?: Logger) {
  const write = (level: 'warn' | 'error') => (message: string, meta?: object) =>
    log?.[level](meta ?? {}, message);
  const silent = () => {};
  return {
    log: silent,
    trace: silent,
    debug: silent,
    info: silent,
    warn: write('warn'),
    error: write('error'),
  };
}
