import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { GuardLook } from '../../domain/guards.ts';
import { findVerdict, listLooks } from '../../store/evidence.ts';
import { adaSigns, given, type Running, type Seen, weightObserved } from './dsl.ts';
import { candidateServes, servingIsAsBefore, toldOnce, trafficMoved } from './holds.ts';
import { startWorld, until, type World } from './world.ts';

describe('Prometheus away', () => {
  let world: World;
  before(async () => {
    world = await startWorld();
  });
  after(() => world?.stop());

  const prometheus = () => {
    const { prometheus } = world.stack;
    assert.ok(prometheus);
    return prometheus.process;
  };
  // At once: in an orderly end it would answer on for a while.
  const prometheusStops = () => prometheus().kill('SIGKILL');
  const prometheusIsBack = () => prometheus().start();

  const pendingOn = (seen: Seen | undefined, activity: string) =>
    seen?.pending.find((pending) => pending.activity === activity)?.message ?? '';

  /** Well past the horizon the gate was asked and asked again, and neither it nor the guards decided anything. */
  async function holdsAndSaysWhy(release: Running): Promise<void> {
    for (const activity of ['judgeCanary', 'watchGuards']) {
      await release.reaches((seen) => {
        assert.equal(seen.stage, 'deciding', 'it went on without a measurement');
        return /^holding: .*could not be measured/.test(pendingOn(seen, activity));
      });
    }
    const { horizon } = (await release.see()) ?? {};
    const due = Date.parse(String(horizon?.at));
    const blindLooks = async () => {
      const { looks } = await listLooks(world.db, release.id, { kind: 'guards', limit: 5000 });
      return looks.filter(({ at, look }) => at.getTime() > due && (look as GuardLook).state === 'error')
        .length;
    };
    await until('six blind looks after the horizon', async () => (await blindLooks()) >= 6);
    const seen = await release.see();
    assert.equal(seen?.stage, 'deciding');
    assert.deepEqual(seen.weight, { desired: 0.5, observed: 0.5 });
    assert.equal(await findVerdict(world.db, release.id, 0), null);
  }

  /** The step before is long over, its time too, and nobody was moved. */
  async function holdsAtItsWeight(release: Running): Promise<void> {
    await release.reaches((seen) => {
      assert.deepEqual([seen.stage, seen.weight?.observed], ['promoting', 0.75], 'it went on unseen');
      return /^holding: .*could not be measured/.test(pendingOn(seen, 'holdCanary'));
    });
  }

  it('holds past the horizon, says why, and goes on by itself', async () => {
    await given(world)
      .aRelease()
      .when('canary', prometheusStops)
      .when('deciding', holdsAndSaysWhy, prometheusIsBack)
      .when('sign-off', adaSigns)
      .ends('done', candidateServes, servingIsAsBefore, trafficMoved(0.5, 0.75, 1), toldOnce);
  });

  it('raises no weight in a promotion, says why, and goes on by itself', async () => {
    await given(world)
      .aRelease({ policy: { promotion: { hold: '10s' } } })
      .when('sign-off', adaSigns)
      .when(weightObserved(0.75), prometheusStops, holdsAtItsWeight, prometheusIsBack)
      .ends('done', candidateServes, servingIsAsBefore, trafficMoved(0.5, 0.75, 1), toldOnce);
  });
});
