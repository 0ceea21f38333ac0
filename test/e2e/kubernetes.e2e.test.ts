import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ManagedProcess } from '../../deploy/local/processes.ts';
import { adaSigns, given, type Running, weightObserved } from './dsl.ts';
import { applicationIsFree, candidateServes, stableServes, toldOnce, trafficMoved } from './holds.ts';
import { candidatePods, nothingOfTheCandidateIsLeft, onlyTheRouteIsServed } from './pods.ts';
import { startWorld, until, type World } from './world.ts';

describe('releases whose servings are pods', () => {
  let world: World;
  before(async () => {
    world = await startWorld({ kubernetes: true });
  });
  after(() => world?.stop());

  const apiServer = (): ManagedProcess => {
    const found = world.stack.cluster?.control?.apiServer;
    assert.ok(found);
    return found;
  };
  const workerIsKilled = () => world.slipway.worker.kill('SIGKILL');
  const workerIsBack = () => world.slipway.worker.start();
  const apiServerIsKilled = () => apiServer().kill('SIGKILL');
  const apiServerIsBack = () => apiServer().start();
  const itsPodsExist = (release: Running) =>
    until('pods of the candidate exist', async () => (await candidatePods(release)).length > 0);

  it('provisions, canaries and promotes; every object of the old revision goes', async () => {
    await given(world)
      .aRelease({ serving: 'small' })
      .when('sign-off', adaSigns)
      .ends(
        'done',
        candidateServes,
        onlyTheRouteIsServed,
        trafficMoved(0.5, 0.75, 1),
        toldOnce,
        applicationIsFree,
      );
  });

  it('is aborted in its canary and leaves not one object', async () => {
    await given(world)
      .aRelease({ serving: 'other' })
      .when(weightObserved(0.5), (release) => release.decide(world.engineer, 'abort', { reason: 'a test' }))
      .ends(
        'rolled-back',
        stableServes,
        nothingOfTheCandidateIsLeft,
        onlyTheRouteIsServed,
        applicationIsFree,
      );
  });

  it('SIGKILL of the worker while provisioning and while cleaning: the same end, each effect once', async () => {
    await given(world)
      // Long enough for it to be seen.
      .aRelease({ serving: 'other', policy: { baking: { duration: '10s' } } })
      .when('provisioning', itsPodsExist, workerIsKilled, workerIsBack)
      .when('sign-off', adaSigns)
      .when('baking', workerIsKilled, workerIsBack)
      .ends(
        'done',
        candidateServes,
        onlyTheRouteIsServed,
        trafficMoved(0.5, 0.75, 1),
        toldOnce,
        applicationIsFree,
      );
  });

  it('SIGKILL of the API server while provisioning and while cleaning: the same end, no orphan', async () => {
    await given(world)
      .aRelease({ serving: 'small' })
      .when('provisioning', itsPodsExist, apiServerIsKilled, apiServerIsBack)
      .when(
        weightObserved(0.5),
        (release) => release.decide(world.engineer, 'abort', { reason: 'a test' }),
        apiServerIsKilled,
        apiServerIsBack,
      )
      .ends(
        'rolled-back',
        stableServes,
        nothingOfTheCandidateIsLeft,
        onlyTheRouteIsServed,
        applicationIsFree,
      );
  });
});
