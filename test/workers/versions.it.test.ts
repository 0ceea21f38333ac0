import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client, type WorkflowHandle } from '@temporalio/client';
import type { NativeConnection, Worker } from '@temporalio/worker';
import type { ReleaseActivities } from '../../activities/contract.ts';
import { notYet } from '../../activities/watch.ts';
import { setCurrentVersion } from '../../adapters/temporal/versions.ts';
import { waitUntil } from '../../deploy/local/probe.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { bundleWorkflows, connectWorker, createWorker, installRuntime } from '../../workers/worker.ts';
import { silentLog } from '../support/log.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { startTemporal, type TestTemporal } from '../support/stack.ts';

let temporal: TestTemporal;
let connection: NativeConnection;
before(async () => {
  installRuntime(silentLog);
  temporal = await startTemporal();
  connection = await connectWorker({ address: temporal.address });
});
after(async () => {
  await connection.close();
  await temporal.stop();
});

test('a release stays on the version of the workers that it began with; new ones begin on the current', async () => {
  const bundle = await bundleWorkflows();
  const client = new Client({ connection: temporal.connection, namespace: temporal.namespace });
  const registered: string[] = [];
  let mayRegister = false;
  /** A worker of one build, whose registering waits and then refuses: enough to see where a release lives. */
  const workerOf = async (buildId: string): Promise<{ worker: Worker; ended: Promise<void> }> => {
    const activities = {
      registerRelease: async ({ progress }: { progress: { release: string } }) => {
        if (!mayRegister) throw notYet('waits', 100);
        registered.push(`${progress.release} on ${buildId}`);
        throw new SlipwayError('INPUT_INVALID', 'enough');
      },
      endRelease: async () => {},
      notify: async () => {},
    } as unknown as ReleaseActivities;
    const worker = await createWorker({
      connection,
      topology: temporal.topology,
      activities,
      buildId,
      bundle,
    });
    return { worker, ended: worker.run() };
  };
  const begin = (workflowId: string): Promise<WorkflowHandle> =>
    client.workflow.start('release', {
      workflowId,
      taskQueue: temporal.topology.taskQueue.name,
      args: [{ application: 'a', prompt: 'a@1', requester: 'ana' }],
    });
  const buildOf = async (handle: WorkflowHandle): Promise<string | null | undefined> =>
    (await handle.describe()).raw.workflowExecutionInfo?.versioningInfo?.deploymentVersion?.buildId;

  await assert.rejects(
    setCurrentVersion(temporal.connection, temporal.topology, 'nobody', 0),
    (error) => error instanceof SlipwayError && error.code === 'DEPENDENCY_UNAVAILABLE',
  );
  const one = await workerOf('one');
  await setCurrentVersion(temporal.connection, temporal.topology, 'one', PATIENCE_MS);
  const old = await begin('old');
  await waitUntil('the first release began', async () => (await buildOf(old)) === 'one', {
    timeoutMs: PATIENCE_MS,
  });

  const two = await workerOf('two');
  await setCurrentVersion(temporal.connection, temporal.topology, 'two', PATIENCE_MS);
  const young = await begin('young');
  await waitUntil('the second began', async () => (await buildOf(young)) === 'two', {
    timeoutMs: PATIENCE_MS,
  });
  mayRegister = true;
  await waitUntil('both went on', () => Promise.resolve(registered.length >= 2), { timeoutMs: PATIENCE_MS });
  assert.deepEqual([...new Set(registered)].sort(), ['old on one', 'young on two']);
  assert.equal(await buildOf(old), 'one');

  for (const handle of [old, young]) await handle.terminate().catch(() => {});
  one.worker.shutdown();
  two.worker.shutdown();
  await Promise.all([one.ended, two.ended]);
});
