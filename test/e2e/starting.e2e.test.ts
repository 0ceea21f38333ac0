import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';
import { codedFailure } from '../../api/releases/failures.ts';
import { ApiClient } from '../../cli/client.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { activeRelease, findRelease, listReleases } from '../../store/releases.ts';
import { beforeRelease, given, pushPrompt, Running, requestFor } from './dsl.ts';
import { applicationIsFree, candidateServes, servingIsAsBefore, toldOnce, trafficMoved } from './holds.ts';
import { APPLICATION, startAnother, startWorld, until, type World } from './world.ts';

describe('starting a release', () => {
  let world: World;
  let otherReplica: ApiClient;
  before(async () => {
    world = await startWorld();
    const port = await world.stack.port('api-2');
    const url = `http://127.0.0.1:${port}`;
    await startAnother(world, world.slipway.api, {
      name: 'api-2',
      url,
      env: { SLIPWAY_API_PORT: String(port) },
    });
    otherReplica = new ApiClient(url, world.slipway.keys.engineer);
  });
  after(() => world?.stop());

  /** As the Temporal UI does it: a type, a task queue, an id and one JSON. */
  async function typedInTheTemporalUi(workflowId: string, requester: string): Promise<string> {
    const prompt = await pushPrompt(world);
    await world.temporal.workflow.start('release', {
      taskQueue: world.stack.topology.taskQueue.name,
      workflowId,
      args: [{ application: APPLICATION, prompt, requester }],
    });
    return workflowId;
  }

  /** @throws what the registration was refused with */
  async function registeredOrRefused(id: string, workflowId = id): Promise<string> {
    const handle = world.temporal.workflow.getHandle(workflowId);
    const status = await until(`${id} is registered or refused`, async () => {
      if ((await findRelease(world.db, id)) !== null) return 'REGISTERED';
      const { status } = await handle.describe();
      return status.name === 'RUNNING' ? null : status.name;
    });
    if (status === 'FAILED') await handle.result();
    return id;
  }

  /** What the UI shows as the workflow's current details. */
  async function detailsOf({ id }: Running): Promise<string> {
    const handle = world.temporal.workflow.getHandle(id);
    const { currentDetails } = await handle.query<{ currentDetails?: string }>(
      '__temporal_workflow_metadata',
    );
    return currentDetails ?? '';
  }

  async function listed(query: string): Promise<string[]> {
    const ids: string[] = [];
    for await (const { workflowId } of world.temporal.workflow.list({ query })) ids.push(workflowId);
    return ids;
  }

  it('from the Temporal UI: seen there, and signed there with what the details say', async () => {
    const found = async ({ id }: Running) => {
      const attributes = `SlipwayStage="sign-off" and SlipwayApplication="${APPLICATION}" and SlipwayPhase="Paused"`;
      const ids = await until('the list finds it', async () => {
        const found = await listed(`${attributes} and SlipwayVerdict="promote"`);
        return found.length > 0 ? found : null;
      });
      assert.deepEqual(ids, [id]);
    };
    const signedAsTheDetailsSay = async (release: Running) => {
      const details = await detailsOf(release);
      assert.match(details, /\*\*sign-off\*\* \(Paused\)/);
      assert.match(details, /Canary weight: asked 0.5, observed 0.5/);
      const input = /`approve` with `(.*)`/.exec(details)?.[1];
      assert.ok(input, details);
      const handle = world.temporal.workflow.getHandle(release.id);
      await handle.signal('approve', { ...JSON.parse(input), by: 'olga' });
      await until('the refusal is told', async () =>
        (await detailsOf(release)).includes('Ignored the signal approve'),
      );
      assert.equal((await release.see())?.stage, 'sign-off');
      await handle.signal('approve', { ...JSON.parse(input), by: 'ada' });
    };
    await given(world)
      .aReleaseBegunBy(async () => registeredOrRefused(await typedInTheTemporalUi('typed-by-hand', 'olga')))
      .when('sign-off', found, signedAsTheDetailsSay)
      .ends('done', candidateServes, servingIsAsBefore, trafficMoved(0.5, 0.75, 1), toldOnce);
    assert.deepEqual(await listed('SlipwayStage="sign-off"'), []);
  });

  it('by one of many at once, through two replicas and the Temporal UI', async () => {
    const { db, engineer } = world;
    const earlier = (await listReleases(db)).length;
    const throughApi = async (api: ApiClient): Promise<string> => {
      const request = await requestFor(world, { policy: neverJudged });
      const answer = await api.call<{ release: string; registered: boolean }>(
        'POST',
        '/v1/releases',
        request,
      );
      const { release, registered } = answer;
      return registered ? release : registeredOrRefused(release, `release:${release}`);
    };
    const throughUi = async (id: string): Promise<string> => {
      await typedInTheTemporalUi(id, 'olga');
      return registeredOrRefused(id);
    };
    const outcomes = await Promise.allSettled([
      throughApi(engineer),
      throughUi('race-1'),
      throughApi(otherReplica),
      throughApi(engineer),
      throughUi('race-2'),
      throughApi(otherReplica),
    ]);
    const won = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    const lost = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
    assert.equal(won.length, 1, String(won));
    assert.deepEqual(
      lost.map((error) => codedFailure(error)?.code ?? error),
      Array(5).fill('APPLICATION_HAS_RELEASE'),
    );
    assert.equal((await activeRelease(db, APPLICATION))?.id, won[0]);
    assert.equal((await listReleases(db)).length, earlier + 1);
    const winner = new Running(world, won[0] ?? '', await beforeRelease(world));
    await winner.decide(engineer, 'abort');
    await winner.ended();
    await applicationIsFree(winner);
  });

  it('once per key, whoever repeats it on whichever replica', async () => {
    const { db, engineer } = world;
    const earlier = (await listReleases(db)).length;
    const key = { 'idempotency-key': randomUUID() };
    const request = await requestFor(world, { policy: neverJudged });
    const start = (api: ApiClient, body: object = request) =>
      api.call<{ release: string; created: boolean }>('POST', '/v1/releases', body, key);
    const started = await Promise.all(
      [engineer, otherReplica, engineer, otherReplica].map((api) => start(api)),
    );
    const release = new Running(world, started[0]?.release ?? '', await beforeRelease(world));
    assert.deepEqual(new Set(started.map((answer) => answer.release)), new Set([release.id]));
    assert.equal(started.filter(({ created }) => created).length, 1);
    assert.equal((await listReleases(db)).length, earlier + 1);
    const found = await until('the list finds it', async () => {
      const ids = await listed(`WorkflowId="release:${release.id}"`);
      return ids.length > 0 ? ids : null;
    });
    assert.deepEqual(found, [`release:${release.id}`]);

    const another = { ...request, prompt: await pushPrompt(world) };
    await assert.rejects(start(otherReplica, another), (error) => {
      assert.ok(error instanceof SlipwayError);
      assert.equal(error.code, 'RELEASE_KEY_REUSED');
      return true;
    });
    await release.decide(engineer, 'abort');
    await release.ended();
    assert.deepEqual({ ...(await start(otherReplica)), created: false }, { ...started[0], created: false });
  });

  const neverJudged = { canary: { minDuration: '10m' }, gate: { horizons: ['10m'] } };
});
