import { setTimeout as delay } from 'node:timers/promises';
import type { Connection } from '@temporalio/client';
import { SlipwayError } from '../../domain/errors.ts';
import type { Topology } from './topology.ts';

const LOOK_AGAIN_MS = 500;
/** gRPC's codes of what passes when a worker of the version has polled. */
const NOT_FOUND = 5;
const FAILED_PRECONDITION = 9;

/**
 * Makes a version of the workers the one that new workflows begin on; those under way are pinned to theirs. A version exists once a
 * worker of it has polled, so this waits for one.
 * @throws SlipwayError DEPENDENCY_UNAVAILABLE when none came in time
 */
export async function setCurrentVersion(
  connection: Connection,
  { namespace, taskQueue }: Topology,
  buildId: string,
  withinMs: number,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    try {
      await connection.workflowService.setWorkerDeploymentCurrentVersion({
        namespace: namespace.name,
        deploymentName: taskQueue.name,
        buildId,
        identity: 'slipway',
      });
      return;
    } catch (error) {
      const code = (error as { code?: unknown }).code;
      if (code !== NOT_FOUND && code !== FAILED_PRECONDITION) throw error;
      if (performance.now() > deadline) {
        throw new SlipwayError(
          'DEPENDENCY_UNAVAILABLE',
          `no worker of build ${buildId} polls ${taskQueue.name}`,
          {
            field: 'build',
            value: buildId,
            remedy: 'Start workers with SLIPWAY_BUILD_ID set to it, and look at their logs',
          },
        );
      }
    }
    await delay(LOOK_AGAIN_MS);
  }
}
