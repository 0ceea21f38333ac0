import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { given, type Running, type Seen } from './dsl.ts';
import { applicationIsFree, servingIsAsBefore, stableServes, trafficMoved } from './holds.ts';
import { servingProcesses } from './servings.ts';
import { startWorld, until, type World } from './world.ts';

describe('a release whose workflow is terminated', () => {
  let world: World;
  before(async () => {
    world = await startWorld();
  });
  after(() => world?.stop());

  const long = '10m';
  const neverJudged = { canary: { minDuration: long }, gate: { horizons: [long] } };

  const isTerminated = async ({ id }: Running): Promise<void> => {
    await world.temporal.workflow.getHandle(`release:${id}`).terminate('by mistake');
  };

  /** The sweeper, without the grace that its schedule gives. */
  const isLookedFor = async (): Promise<void> => {
    await world.temporal.workflow.start('sweeper', {
      workflowId: `sweeper-${process.hrtime.bigint()}`,
      taskQueue: world.stack.topology.taskQueue.name,
      args: [{ grace: 0 }],
    });
  };

  const sweepOf = ({ id }: Running) => world.temporal.workflow.getHandle(`sweep:${id}`);
  const sweepHasBegun = (release: Running) =>
    until('the sweep has begun', () =>
      sweepOf(release)
        .describe()
        .catch(() => null),
    );
  const workerIsKilled = () => world.slipway.worker.kill('SIGKILL');
  const workerIsBack = () => world.slipway.worker.start();

  it('is swept, through SIGKILL of the worker in the middle: as after an abort, and each effect once', async () => {
    const sampled = (seen: Seen) => (seen.samples?.canary.samples ?? 0) > 20;
    await given(world)
      .aRelease({ serving: 'small', policy: neverJudged })
      .when(sampled, isTerminated, isLookedFor, sweepHasBegun, workerIsKilled, workerIsBack)
      .ends(
        'rolled-back',
        trafficMoved(0.5),
        stableServes,
        servingIsAsBefore,
        applicationIsFree,
        async (release) => {
          await sweepOf(release).result();
          const { reason } = (await release.see()) ?? {};
          assert.match(reason ?? '', /^its workflow was terminated in Temporal in (canary|deciding)$/);
          const story = await release.story();
          assert.equal(story.filter(({ text }) => text.startsWith('Rolling back by a sweep')).length, 1);
        },
      );
  });

  it('leaves the schedules of the stack looking, and the reaper with nothing to report', async () => {
    const schedules = ['slipway-sweeper', 'slipway-reaper'].map((id) =>
      world.temporal.schedule.getHandle(id),
    );
    for (const schedule of schedules) await schedule.trigger();
    const report = await until('the reaper has run', async () => {
      const found = await world.engineer.call<Report>('GET', '/v1/reaper');
      return found.lastRun === null ? null : found;
    });
    assert.equal(report.lastRun?.dryRun, true);
    assert.deepEqual([report.unneeded, report.over], [[], []]);
    assert.ok(servingProcesses(world).length > 0);
    const metrics = `http://${world.slipway.worker.spec.env?.SLIPWAY_WORKER_METRICS_ADDRESS}/metrics`;
    await until('the waste is counted', async () =>
      /^slipway_unneeded_gpu_seconds\{.*\} 0$/m.test(await (await fetch(metrics)).text()),
    );
  });
});

interface Report {
  lastRun: { dryRun: boolean } | null;
  unneeded: unknown[];
  over: unknown[];
}
