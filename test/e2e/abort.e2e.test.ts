import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { endlessGoldenSet } from './documents.ts';
import { adaSigns, given, type Running, type Seen } from './dsl.ts';
import { applicationIsFree, servingIsAsBefore, stableServes, trafficMoved } from './holds.ts';
import { servingProcesses } from './servings.ts';
import { APPLICATION, startWorld, until, type World } from './world.ts';

describe('abort', () => {
  let world: World;
  before(async () => {
    world = await startWorld();
    await world.engineer.call('POST', '/v1/golden-sets', endlessGoldenSet());
  });
  after(() => world?.stop());

  const prometheus = () => {
    const { prometheus } = world.stack;
    assert.ok(prometheus);
    return prometheus.process;
  };
  const signalToReplicas = (signal: NodeJS.Signals) => () => {
    for (const { pid } of servingProcesses(world)) process.kill(pid, signal);
  };

  /** Two people at once, and one of them again when it is over: neither is refused, and nothing happens twice. */
  async function isAbortedTwice(release: Running): Promise<void> {
    const { engineer, approver } = world;
    const reason = 'second thoughts';
    await Promise.all([engineer, approver].map((by) => release.decide(by, 'abort', { reason })));
    await release.ended();
    await release.decide(engineer, 'abort');
  }

  async function wasOneAbort(release: Running): Promise<void> {
    assert.match((await release.see())?.reason ?? '', /^aborted by (erin|ada): second thoughts$/);
    const story = await release.story();
    assert.equal(story.filter(({ text }) => text.startsWith('Rolling back')).length, 1);
  }

  const leavesNothing = [stableServes, servingIsAsBefore, applicationIsFree, wasOneAbort] as const;
  const long = '10m';
  const neverJudged = { canary: { minDuration: long }, gate: { horizons: [long] } };

  it('in preflight, which waits for a stable serving that hangs', async () => {
    const hang = signalToReplicas('SIGSTOP');
    const goOn = signalToReplicas('SIGCONT');
    hang();
    try {
      const waiting = (seen: Seen) => seen.stage === 'preflight' && seen.pending.length > 0;
      await given(world)
        .aRelease()
        .when(waiting, isAbortedTwice)
        .ends('rolled-back', goOn, trafficMoved(), ...leavesNothing);
    } finally {
      goOn();
    }
    await until('the stable revision is served again', async () => {
      const { rows } = await world.db.query('select 1 from servings where jsonb_array_length(endpoints) = 2');
      return rows.length === 1;
    });
  });

  it('in evaluating, on the shared serving', async () => {
    await given(world)
      .aRelease({ goldenSet: `${APPLICATION}-endless@1` })
      .when('evaluating', isAbortedTwice)
      .ends('rolled-back', trafficMoved(), ...leavesNothing);
  });

  it('in evaluating, on a serving of its own', async () => {
    await given(world)
      .aRelease({ serving: 'small', goldenSet: `${APPLICATION}-endless@1` })
      .when('evaluating', isAbortedTwice)
      .ends('rolled-back', trafficMoved(), ...leavesNothing);
  });

  it('in provisioning, while the weights load', async () => {
    const loading = (seen: Seen) => seen.stage === 'provisioning' && servingProcesses(world).length > 2;
    await given(world)
      .aRelease({ serving: 'big' })
      .when(loading, isAbortedTwice)
      .ends('rolled-back', trafficMoved(), ...leavesNothing);
  });

  it('in the canary, with a serving of its own', async () => {
    await given(world)
      .aRelease({ serving: 'small', policy: neverJudged })
      .when((seen) => (seen.samples?.canary.samples ?? 0) > 20, isAbortedTwice)
      .ends('rolled-back', trafficMoved(0.5), ...leavesNothing);
  });

  it('in deciding, which waits for Prometheus', async () => {
    await given(world)
      .aRelease({
        policy: { canary: { minDuration: '4s' }, gate: { horizons: ['4s', '48s'] } },
      })
      .when('canary', () => prometheus().stop())
      .when('deciding', isAbortedTwice)
      .ends('rolled-back', () => prometheus().start(), trafficMoved(0.5), ...leavesNothing);
  });

  it('in sign-off', async () => {
    await given(world)
      .aRelease()
      .when('sign-off', isAbortedTwice)
      .ends('rolled-back', trafficMoved(0.5), ...leavesNothing);
  });

  it('in promoting, between two steps', async () => {
    await given(world)
      .aRelease({ policy: { promotion: { hold: long } } })
      .when('sign-off', adaSigns)
      .when((seen) => seen.weight?.observed === 0.75, isAbortedTwice)
      .ends('rolled-back', trafficMoved(0.5, 0.75), ...leavesNothing);
  });

  it('in baking, with everybody on the candidate', async () => {
    await given(world)
      .aRelease({ serving: 'small', policy: { baking: { duration: long } } })
      .when('sign-off', adaSigns)
      .when('baking', isAbortedTwice)
      .ends('rolled-back', trafficMoved(0.5, 0.75, 1), ...leavesNothing);
  });

  it('leaves the application free for the next release', async () => {
    await given(world).aRelease().when('sign-off', adaSigns).ends('done', applicationIsFree);
  });
});
