import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { ManagedProcess } from '../../deploy/local/processes.ts';
import { GATEWAY_LEASE_MS } from '../../domain/routing.ts';
import type { Arm } from '../../domain/words.ts';
import { acknowledgementOf, readGeneration } from '../../store/routes.ts';
import { adaSigns, given, type Running, weightObserved } from './dsl.ts';
import { candidateServes, servingIsAsBefore, toldOnce, trafficMoved } from './holds.ts';
import { startAnother, startWorld, until, type World } from './world.ts';

describe('the gateway', () => {
  let world: World;
  before(async () => {
    world = await startWorld();
  });
  after(() => world?.stop());

  /** So many more requests are in the ledger. */
  const moreSamples = (count: number) => async (release: Running) => {
    const samplesOf = (seen: Awaited<ReturnType<Running['see']>>) =>
      (seen?.samples?.stable.samples ?? 0) + (seen?.samples?.canary.samples ?? 0);
    const now = samplesOf(await release.see());
    await release.reaches((seen) => samplesOf(seen) >= now + count);
  };

  interface Sample {
    arm: Arm;
    /** Of the weight; 0 is the canary's own. */
    phase: number;
    at: number;
  }

  /** Each user's requests in their order, as the ledger has them. */
  async function requestsByUser({ id }: Running): Promise<Sample[][]> {
    const { rows } = await world.db.query<{ samples: Sample[] }>(
      `select json_agg(json_build_object('arm', arm, 'phase', stratum & 63, 'at', extract(epoch from at) * 1000)
                       order by at, id) as samples
         from samples where arm is not null and experiment in (select id from experiments where release = $1)
        group by user_id`,
      [id],
    );
    return rows.map(({ samples }) => samples);
  }

  /** Many users asked on both sides of each of these moments; nobody changed the arm at one weight, or left the canary at a higher one. */
  const nobodyLeftTheCanary = (moments: readonly number[]) => async (release: Running) => {
    const users = await requestsByUser(release);
    for (const moment of moments) {
      const spanning = users.filter((all) => {
        const collecting = all.filter(({ phase }) => phase === 0);
        return collecting.some(({ at }) => at < moment) && collecting.some(({ at }) => at > moment);
      });
      assert.ok(spanning.length > 20, `${spanning.length} users asked before and after`);
    }
    for (const all of users) {
      const text = all.map(({ arm, phase }) => `${arm} in phase ${phase}`).join(', ');
      const collecting = all.filter(({ phase }) => phase === 0);
      assert.ok(new Set(collecting.map(({ arm }) => arm)).size <= 1, text);
      const arms = all.map(({ arm }) => arm);
      assert.ok(!arms.includes('canary') || arms.lastIndexOf('stable') < arms.indexOf('canary'), text);
    }
  };

  it("restarted and killed in the canary: nobody's arm changes, and the release goes on", async () => {
    const { gateway } = world.slipway;
    const moments: number[] = [];
    const now = () => moments.push(Date.now());
    await given(world)
      .aRelease()
      .when(
        (seen) => (seen.samples?.canary.samples ?? 0) > 50,
        now,
        () => gateway.restart(),
        moreSamples(150),
        now,
        () => gateway.kill('SIGKILL'),
        () => gateway.start(),
        moreSamples(150),
      )
      .when('sign-off', adaSigns)
      .ends('done', candidateServes, trafficMoved(0.5, 0.75, 1), toldOnce, nobodyLeftTheCanary(moments));
  });

  it('dead for good: the weight is observed when its lease has ended, not before and not never', async () => {
    const port = await world.stack.port('gateway-2');
    const second: ManagedProcess = await startAnother(world, world.slipway.gateway, {
      name: 'gateway-2',
      url: `http://127.0.0.1:${port}`,
      env: {
        SLIPWAY_GATEWAY_PORT: String(port),
        SLIPWAY_GATEWAY_METRICS_ADDRESS: '127.0.0.1:0',
        SLIPWAY_STATE_DIR: `${world.stack.state}/gateway-2`,
      },
    });
    await until('two gateways have a lease', async () => {
      const { live, lagging } = await acknowledgementOf(world.db, await readGeneration(world.db));
      return live === 2 && lagging.length === 0;
    });
    const theDeadOnesLeaseIsOver = async () => {
      const { rows } = await world.db.query<{ age: number }>(
        `select (extract(epoch from now() - renewed_at) * 1000)::float8 as age from gateways order by renewed_at limit 1`,
      );
      assert.ok((rows[0]?.age ?? 0) > GATEWAY_LEASE_MS, `renewed ${rows[0]?.age} ms ago`);
    };
    await given(world)
      // Long enough for the weight to be seen.
      .aRelease({ policy: { promotion: { hold: '10s' } } })
      .when('sign-off', () => second.kill('SIGKILL'), adaSigns)
      .when(weightObserved(0.75), theDeadOnesLeaseIsOver)
      .ends('done', candidateServes, servingIsAsBefore, trafficMoved(0.5, 0.75, 1), toldOnce);
  });
});
