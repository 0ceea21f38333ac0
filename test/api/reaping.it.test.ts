import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { type RunningApi, startApi } from '../../api/server.ts';
import { newKey, saveApiKey } from '../../store/keys.ts';
import { recordReaperRun, recordUnneeded } from '../../store/reaping.ts';
import { slipway } from '../cli/slipway.ts';
import { type Dying, dyingReleases } from '../support/dying-releases.ts';
import { silentLog } from '../support/log.ts';
import { until } from '../support/servings.ts';
import { type Answer, call } from './caller.ts';
import { ApiDocument } from './document.ts';

describe('what sweeper and reaper do, through the API', () => {
  let world: Awaited<ReturnType<typeof dyingReleases>>;
  let api: RunningApi;
  let document: ApiDocument;
  const key = newKey();
  before(async () => {
    world = await dyingReleases();
    api = await startApi({
      databaseUrl: world.databaseUrl,
      temporal: world.temporal.connection,
      namespace: world.temporal.namespace,
      taskQueue: world.temporal.taskQueue,
      port: 0,
      logger: silentLog,
    });
    document = new ApiDocument(await (await fetch(`${api.url}/openapi.json`)).json());
    await saveApiKey(world.db, key, { name: 'erin', role: 'engineer' });
  });
  after(async () => {
    await api?.stop();
    await world?.stop();
  });

  const ask = (method: string, path: string, body?: unknown): Promise<Answer> =>
    call(api.url, document, method, path, { key, body });

  const cli = (...args: string[]) => slipway(args, { SLIPWAY_API_URL: api.url, SLIPWAY_API_KEY: key });

  /** A release in its canary, whose workflow somebody terminates. */
  async function terminated(): Promise<Dying> {
    const dying = await world.begin({ flags: { 'max-num-seqs': 7 } });
    await world.reaches(dying, 'canary', ({ weight }) => weight.observed > 0);
    await dying.handle.terminate();
    return dying;
  }

  it('a terminated release is Degraded and not ended for its application, until it is swept', async () => {
    const dying = await terminated();
    const path = `/v1/releases/${dying.plan.release}`;
    const { body: before } = await ask('GET', path);
    assert.deepEqual(
      [before.phase, before.reason, before.endedAt],
      ['Degraded', 'the workflow was terminated in Temporal', null],
    );
    await world.sweep();
    await world.ended(dying);
    const { body: after } = await ask('GET', path);
    assert.deepEqual(
      [after.stage, after.phase, after.weight],
      ['rolled-back', 'Degraded', { desired: 0, observed: 0 }],
    );
    assert.match(String(after.reason), /^its workflow was terminated in Temporal in /);
    const { body } = await ask('GET', `${path}/explain`);
    const story = (body.story as unknown as { text: string }[]).map(({ text }) => text);
    assert.match(story[0] ?? '', /asks for/);
    assert.equal(story.filter((text) => text.startsWith('Rolling back by a sweep')).length, 1);
    assert.equal(story.at(-1), 'Nobody is on the candidate any more');
  });

  it('an abort ends a terminated release at once, and twice is once', async () => {
    const dying = await terminated();
    const path = `/v1/releases/${dying.plan.release}`;
    const abort = () => ask('POST', `${path}/abort`, { reason: 'harm' });
    const statuses = (await Promise.all([abort(), abort()])).map(({ status }) => status);
    // The slower one may find the sweep through already.
    assert.ok(String(statuses.toSorted()).match(/^20[02],202$/), String(statuses));
    const row = await world.ended(dying);
    assert.match(row.reason ?? '', /^aborted by erin: harm; its workflow was terminated in Temporal in /);
    const again = await abort();
    assert.deepEqual([again.status, again.body.stage], [200, 'rolled-back']);
    const resumed = await ask('POST', `${path}/resume`, {});
    assert.deepEqual([resumed.status, resumed.body.error?.code], [409, 'DECISION_REFUSED']);
    await until(
      'the sweep is through',
      () => world.client.workflow.getHandle(`sweep:${dying.plan.release}`).describe(),
      ({ status }) => status.name === 'COMPLETED',
    );
  });

  it('the report says what is wasted, since when, and until when it is kept', async () => {
    const none = await cli('reaper', 'report');
    assert.match(none.stdout, /has not run yet\. Its first run is due within reaper\.every/);
    assert.deepEqual((await ask('GET', '/v1/reaper')).body, { lastRun: null, unneeded: [], over: [] });

    const at = (hours: number) => new Date(Date.UTC(2026, 0, 5, hours));
    const orphan = { known: false, application: null, release: null, gpus: 2 };
    const known = { known: true, application: 'shop', release: 'shop-2', gpus: 4 };
    const [a, b] = [
      { ...orphan, serving: 'sha256:a', name: 'slipway-a' },
      { ...known, serving: 'sha256:b', name: 'slipway-b' },
    ];
    await recordUnneeded(world.db, [a], ['sha256:a'], at(0));
    await recordUnneeded(world.db, [a, b], ['sha256:a', 'sha256:b'], at(1));
    await recordUnneeded(world.db, [b], ['sha256:b'], at(3));
    await recordReaperRun(world.db, { at: at(3), dryRun: true, grace: 7_200_000 });
    const { body } = await ask('GET', '/v1/reaper');
    assert.deepEqual(body, {
      lastRun: { at: at(3).toISOString(), dryRun: true, graceMs: 7_200_000 },
      unneeded: [
        {
          ...b,
          since: at(1).toISOString(),
          seenAt: at(3).toISOString(),
          gpuHours: 8,
          dueAt: at(3).toISOString(),
        },
      ],
      over: [
        {
          ...a,
          since: at(0).toISOString(),
          seenAt: at(1).toISOString(),
          gpuHours: 6,
          endedAt: at(3).toISOString(),
          ending: 'gone',
        },
      ],
    });
    const { stdout } = await cli('reaper', 'report');
    assert.match(stdout, /^Last run 2026-01-05 03:00:00, a dry run: nothing is removed\./);
    assert.match(stdout, /4 GPUs are held by servings that nobody needs; 8\.0 GPU hours so far/);
    assert.match(stdout, /slipway-b +4 +8\.0 +2026-01-05 01:00:00 +shop-2 +2026-01-05 03:00:00/);
    assert.match(
      stdout,
      /slipway-a +2 +6\.0 +2026-01-05 00:00:00 +\(unknown to the store\) +gone 2026-01-05 03:00/,
    );
    const asJson = await cli('--json', 'reaper', 'report');
    assert.deepEqual(JSON.parse(asJson.stdout), body);
  });
});
