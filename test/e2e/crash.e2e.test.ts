import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { startReceiver } from '../support/receiver.ts';
import { adaSigns, given, type Running, weightObserved } from './dsl.ts';
import { applicationIsFree, candidateServes, servingWasReplaced, toldOnce, trafficMoved } from './holds.ts';
import { servingProcesses } from './servings.ts';
import { startWorld, until, type World } from './world.ts';

describe('SIGKILL of the worker', () => {
  let world: World;
  before(async () => {
    world = await startWorld();
  });
  after(() => world?.stop());

  const workerIsKilled = () => world.slipway.worker.kill('SIGKILL');
  const workerIsBack = () => world.slipway.worker.start();

  it('while provisioning, in the canary and between two steps: promoted, and each effect once', async (t) => {
    const approvers = await startReceiver(t);
    let launched: number[] = [];
    const newProcesses = ({ before: { processes } }: Running) =>
      servingProcesses(world)
        .map(({ pid }) => pid)
        .filter((pid) => !processes.some((old) => old.pid === pid));

    await given(world)
      .aRelease({
        serving: 'big',
        webhook: approvers.url,
        policy: { promotion: { steps: [0.75, 1], hold: '8s' } },
      })
      .when(
        'provisioning',
        async (release) => {
          launched = await until('a replica loads', () => {
            const pids = newProcesses(release);
            return pids.length > 0 ? pids : null;
          });
        },
        workerIsKilled,
        workerIsBack,
      )
      .when('canary', workerIsKilled, workerIsBack)
      .when('sign-off', adaSigns)
      .when(weightObserved(0.75), workerIsKilled, workerIsBack)
      .ends(
        'done',
        candidateServes,
        servingWasReplaced,
        trafficMoved(0.5, 0.75, 1),
        toldOnce,
        applicationIsFree,
        // What the dead worker had launched was adopted, not launched again.
        (release) =>
          assert.deepEqual(
            launched.filter((pid) => !newProcesses(release).includes(pid)),
            [],
          ),
        () =>
          assert.equal(new Set(approvers.received.map(({ headers }) => headers['idempotency-key'])).size, 1),
      );
  });
});
