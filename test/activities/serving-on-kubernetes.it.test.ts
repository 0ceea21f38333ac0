import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/common';
import { createReapingActivities } from '../../activities/reaping.ts';
import { createServingActivities, keepServings } from '../../activities/serving.ts';
import { createKubernetesClient } from '../../adapters/kubernetes/client.ts';
import { resources } from '../../adapters/kubernetes/resources.ts';
import type { KubernetesServing } from '../../adapters/serving/kubernetes/kubernetes.ts';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import { servingName } from '../../domain/serving/serving.ts';
import { whyNoNodes } from '../../simulator/nodes/addresses.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { getServing } from '../../store/servings.ts';
import { type Bench, startBench } from '../adapters/serving/kubernetes-support.ts';
import { asAttempt } from '../support/activity.ts';
import { silentLog } from '../support/log.ts';
import { releasesOn, stepOf } from '../support/releases.ts';
import { exampleRuntime, exampleServing, until } from '../support/servings.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';

describe('the activities on Kubernetes', { skip: (await whyNoNodes()) ?? false }, () => {
  let bench: Bench;
  let postgres: TestPostgres;
  let db: Database;
  let releases: ReturnType<typeof releasesOn>;
  let adapter: KubernetesServing;
  let namespace: string;
  before(async () => {
    [bench, postgres] = await Promise.all([
      startBench([{ name: 'gpu-1', gpuProduct: 'A100-80GB', gpus: 4 }]),
      startPostgres(),
    ]);
    db = openDatabase(postgres.url);
    releases = releasesOn(db);
    namespace = await bench.kubernetes.createNamespace();
    adapter = await bench.adapter(namespace);
  });
  after(async () => {
    await db?.end();
    await postgres?.stop();
    await bench?.stop();
  });

  const activities = () => createServingActivities({ db, adapter, log: silentLog });

  /** Tries again as the server would: whatever is not final, on a clock that is the real one. */
  async function tried(work: () => Promise<void>, told: (message: string) => void = () => {}): Promise<void> {
    const since = performance.now();
    for (let attempt = 1; ; attempt++) {
      const heard = (details: unknown) => (typeof details === 'string' ? told(details) : undefined);
      try {
        return await asAttempt(work, { attempt, after: Math.round(performance.now() - since), heard });
      } catch (error) {
        if (!(error instanceof ApplicationFailure) || error.nonRetryable === true) throw error;
        told(error.message);
        await delay(200);
      }
    }
  }
  const provide = (release: string, serving: string, told?: (message: string) => void) =>
    tried(() => activities().provideServing({ ...stepOf(release), serving }), told);
  const remove = (release: string, serving: string, told?: (message: string) => void) =>
    tried(() => activities().removeServing({ ...stepOf(release), serving }), told);
  const endpoints = async (serving: string) => (await getServing(db, serving)).endpoints;

  test('a serving is provided with its progress told, published, and removed when its release needs it no more', async () => {
    const application = 'whole';
    const { release, candidateServing: serving } = await releases.register({ application });
    const told = new Set<string>();
    await provide(release, serving, (message) => told.add(message));
    assert.ok(
      [...told].some((message) => /^0 of 1 replica ready, 1 /.test(message)),
      [...told].join('\n'),
    );
    assert.match((await endpoints(serving))[0] ?? '', /^http:\/\/10\.\d+\.\d+\.\d+:8000$/);
    await releases.end(release, 'rolled-back');
    await remove(release, serving);
    assert.deepEqual(await endpoints(serving), []);
    assert.equal((await adapter.observe(serving)).state, 'absent');
  });

  test('a serving without room ends its release when its time is over, with what was missing and the way out', async () => {
    const runtime = { ...exampleRuntime(1), gpu: { kind: 'A100-80GB', memoryGiB: 80, count: 8 } };
    const { release, candidateServing: serving } = await releases.register({
      application: 'large',
      runtime,
      policy: { serving: { ...defaultPolicy.serving, readyWithin: 60_000 } },
    });
    const provideAfter = (after: number) => {
      const work = () => activities().provideServing({ ...stepOf(release), serving });
      return asAttempt(work, { attempt: 2, after });
    };
    const said = () => provideAfter(59_500).catch((error: Error) => error.message);
    await until('it waits for room', said, (message) => /too few GPUs/.test(message ?? ''));
    await assert.rejects(provideAfter(60_000), (error) => {
      assert.ok(error instanceof ApplicationFailure);
      assert.equal(error.type, 'SERVING_FAILED');
      assert.match(
        error.message,
        /not ready within 60 s: 0 of 1 replica ready, 1 waiting for a node: too few GPUs: it wants 8/,
      );
      const [details] = error.details as [{ remedy: string }];
      assert.match(details.remedy, /^Add a node with such GPUs/);
      return true;
    });
    await releases.end(release, 'rolled-back');
    await remove(release, serving);
    assert.equal((await adapter.observe(serving)).state, 'absent');
  });

  test('a routed serving whose Deployment somebody deletes comes back, and its new endpoints are published', async () => {
    const runtime = exampleRuntime(1, { seed: 1 });
    const { candidateServing: serving } = await releases.established(
      { application: 'kept', runtime },
      provide,
    );
    const before = await endpoints(serving);
    const admin = createKubernetesClient(bench.kubernetes.admin);
    await admin.remove(resources.deployments, { namespace, name: servingName(serving) });
    const deps = { db, adapter, log: silentLog };
    await until(
      'other endpoints',
      async () => {
        await keepServings(deps);
        return endpoints(serving);
      },
      ([endpoint]) => endpoint !== undefined && endpoint !== before[0],
    );
    const [endpoint] = await endpoints(serving);
    assert.equal((await fetch(`${endpoint}/health`)).status, 200);
  });

  test('a removal that a role forbids is never given up', async () => {
    const config = await bench.restricted(namespace, (permission) =>
      permission.resource === 'deployments'
        ? { ...permission, verbs: permission.verbs.filter((verb) => verb !== 'delete') }
        : permission,
    );
    const lesser = await bench.adapter(namespace, {}, config);
    const runtime = exampleRuntime(1, { seed: 3 });
    const { release, candidateServing: serving } = await releases.register({ application: 'stuck', runtime });
    await provide(release, serving);
    await releases.end(release, 'rolled-back');
    const { removeServing } = createServingActivities({ db, adapter: lesser, log: silentLog });
    await assert.rejects(
      asAttempt(() => removeServing({ ...stepOf(release), serving })),
      (error) => {
        assert.ok(error instanceof ApplicationFailure);
        assert.equal(error.type, 'FORBIDDEN');
        assert.match(error.message, /may not delete deployments\.apps/);
        return error.nonRetryable !== true;
      },
    );
    await remove(release, serving);
    assert.equal((await adapter.observe(serving)).state, 'absent');
  });

  test('the reaper finds what no route and no release needs, leaves the rest alone, and every object goes', async () => {
    const hour = 3_600_000;
    const orphan = exampleServing(2, { seed: 77 });
    await adapter.apply(orphan);
    const needed = await releases.register({
      application: 'needs',
      runtime: exampleRuntime(1, { seed: 78 }),
    });
    await provide(needed.release, needed.candidateServing);
    const { inspectServings, reapServing } = createReapingActivities({ db, adapter, log: silentLog });
    const inspect = (asked: number) =>
      asAttempt(() => inspectServings({ grace: hour, dryRun: false }), { asked });
    const first = Date.now();
    const [sighted, ...others] = await inspect(first);
    assert.deepEqual([sighted?.serving, sighted?.gpus, sighted?.due], [orphan.digest, 2, false]);
    assert.deepEqual(others, []);
    const [later] = await inspect(first + hour);
    assert.deepEqual([later?.due, later?.gpuHours], [true, 2]);
    await tried(async () => {
      assert.equal(await reapServing({ serving: orphan.digest }), 'removed');
    });
    const left = (await adapter.list()).map(({ digest }) => digest);
    assert.ok(left.includes(needed.candidateServing));
    assert.ok(!left.includes(orphan.digest), 'not one of its objects is left');
    await releases.end(needed.release, 'rolled-back');
    await remove(needed.release, needed.candidateServing);
  });

  test('an outage of the API server in the middle ends in the same', async () => {
    const apiServer = bench.kubernetes.control?.apiServer;
    assert.ok(apiServer);
    const runtime = exampleRuntime(2, { seed: 2 });
    const { release, candidateServing: serving } = await releases.register({
      application: 'outage',
      runtime,
    });
    /** The server is away until the work has told so. */
    const struck = async (begin: (told: (message: string) => void) => Promise<void>) => {
      const said = Promise.withResolvers<void>();
      const work = begin((message) => {
        if (/the Kubernetes API server does not serve/.test(message)) said.resolve();
      });
      await delay(50);
      await apiServer.kill();
      await said.promise;
      await apiServer.start();
      await work;
    };
    await struck((told) => provide(release, serving, told));
    assert.equal((await endpoints(serving)).length, 2);
    await releases.end(release, 'rolled-back');
    await struck((told) => remove(release, serving, told));
    assert.equal((await adapter.observe(serving)).state, 'absent');
  });
});
