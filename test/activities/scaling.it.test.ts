import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import type { Move } from '../../activities/contract.ts';
import { scale } from '../../activities/scaling.ts';
import { createServingActivities, keepServings } from '../../activities/serving.ts';
import { createTrafficActivities } from '../../activities/traffic.ts';
import type { ServingAdapter, ServingObservation } from '../../adapters/serving/adapter.ts';
import { createLocalServing } from '../../adapters/serving/local/local.ts';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import type { ScalingPolicy } from '../../domain/serving/serving.ts';
import { recordProgress } from '../../store/releases.ts';
import { dropLease, findRoute, readGeneration, renewLease } from '../../store/routes.ts';
import { getServing, noteUtilisation } from '../../store/servings.ts';
import { ASKED_AT, asAttempt, watched } from '../support/activity.ts';
import { databaseOfFile } from '../support/database.ts';
import { silentLog } from '../support/log.ts';
import { alwaysReady, releasesOn, stepOf } from '../support/releases.ts';
import { exampleRuntime, servingSandbox, standIn, until } from '../support/servings.ts';

const db = await databaseOfFile();

/** Servings of its own for each test; their engines say what the test writes. */
function world(t: TestContext, over: (adapter: ServingAdapter) => Partial<ServingAdapter> = () => ({})) {
  const box = servingSandbox();
  t.after(async () => {
    await db.query('delete from routes');
    await box.cleanUp();
  });
  const local = createLocalServing({ stateDir: box.stateDir, command: standIn, graceMs: 2_000 });
  const adapter = { ...local, ...over(local) };
  const deps = { db, adapter, log: silentLog };
  const { provideServing, removeServing } = createServingActivities(deps);
  const { moveTraffic } = createTrafficActivities(deps);
  const releases = releasesOn(db, adapter);
  const application = `app-${process.hrtime.bigint()}`;
  const loadFile = join(box.stateDir, '..', 'load');
  let phase = 1_000;
  const step = (release: string, to: Move['to'], weight: number) => {
    phase += 1;
    const move = { to, weight, phase, canarySince: to === 'canary' ? ASKED_AT : null };
    return () => moveTraffic({ ...stepOf(release), move });
  };
  const provide = (release: string, serving: string) =>
    watched(() => provideServing({ ...stepOf(release), serving }));
  return {
    ...box,
    adapter,
    application,
    releases,
    provide,
    remove: (release: string, serving: string) =>
      watched(() => removeServing({ ...stepOf(release), serving })),
    keep: () => keepServings(deps),
    /** A move with all its attempts; tells each "not yet". */
    move: (release: string, to: Move['to'], weight: number, told: (message: string) => void = () => {}) =>
      watched(step(release, to, weight), told),
    moveOnce: (
      release: string,
      to: Move['to'],
      weight: number,
      at: Parameters<typeof asAttempt>[1] = {},
    ): Promise<void> => asAttempt(step(release, to, weight), at),
    runtime: (replicas: number, flags: Parameters<typeof exampleRuntime>[1] = {}) =>
      exampleRuntime(replicas, { ...flags, 'served-for': application }),
    /** A runtime whose engines say what `say` wrote last. */
    loaded: (replicas: number) =>
      exampleRuntime(replicas, { 'served-for': application, 'load-file': loadFile }),
    say: (running: number, waiting: number, cacheUsage: number) =>
      writeFileSync(
        loadFile,
        `vllm:num_requests_running ${running}\nvllm:num_requests_waiting ${waiting}\nvllm:kv_cache_usage_perc ${cacheUsage}\n`,
      ),
    sayNothing: () => rmSync(loadFile),
    /** As if the load had been the same for long: one look later it is what the engines say. */
    lasting: (serving: string, load: number) =>
      db.query('update servings set load = $2, load_at = clock_timestamp() where digest = $1', [
        serving,
        load,
      ]),
    scaledBy: (scaling: Partial<ScalingPolicy>) => ({
      serving: { ...defaultPolicy.serving, scaling: { ...defaultPolicy.serving.scaling, ...scaling } },
    }),
    row: (serving: string) => getServing(db, serving),
    weight: async () => (await findRoute(db, application))?.weight,
  };
}

const failureWith =
  (type: string, text: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ApplicationFailure, String(error));
    assert.equal(error.type, type);
    assert.match(error.message, text);
    return true;
  };

test('a canary begins with the replicas for its share, and has those of the next weight before it is sent there', async (t) => {
  const { application, releases, provide, runtime, living, move, moveOnce, row, weight } = world(t);
  await releases.established({ application, runtime: runtime(1) }, provide);
  const plan = await releases.register({ application, runtime: runtime(4) });
  await provide(plan.release, plan.candidateServing);
  const replicas = async () => (await row(plan.candidateServing)).replicas;
  assert.deepEqual([await replicas(), living().length], [1, 2]);

  await move(plan.release, 'canary', 0.25);
  assert.deepEqual([await replicas(), await weight(), living().length], [1, 0.25, 2]);

  await move(plan.release, 'canary', 0.5);
  assert.deepEqual([await replicas(), await weight(), living().length], [2, 0.5, 3]);
  assert.equal((await row(plan.candidateServing)).endpoints.length, 2);

  await move(plan.release, 'canary', 1);
  assert.deepEqual([await replicas(), living().length], [4, 5]);
  await moveOnce(plan.release, 'promoted', 0);
  assert.deepEqual([await replicas(), living().length], [4, 5]);
});

/** A serving of which one replica never becomes ready. */
const oneShort =
  (state: () => ServingObservation['state'] = () => 'starting') =>
  (local: ServingAdapter): Partial<ServingAdapter> => ({
    observe: async (digest) => {
      const seen = await local.observe(digest);
      if (seen.wanted < 2) return seen;
      const message = '1 of 2 replicas ready, 1 waits for a GPU';
      return { ...seen, state: state(), ready: 1, endpoints: seen.endpoints.slice(0, 1), message };
    },
  });

async function halfway(t: TestContext, state?: () => ServingObservation['state']) {
  const test = world(t, oneShort(state));
  const { application, releases, provide, runtime, move } = test;
  await releases.established({ application, runtime: runtime(1) }, provide);
  const plan = await releases.register({ application, runtime: runtime(2) });
  await provide(plan.release, plan.candidateServing);
  await move(plan.release, 'canary', 0.1);
  return { ...test, ...plan };
}

test('a weight waits for its replicas and says so; where they do not come in time the release fails, and no user was moved', async (t) => {
  const { release, moveOnce, weight } = await halfway(t);
  const message = /the serving is not sized for weight 1: 1 of 2 replicas ready, 1 waits for a GPU/;
  await assert.rejects(moveOnce(release, 'canary', 1), failureWith('NOT_YET', message));
  const late = { attempt: 9, after: defaultPolicy.serving.readyWithin };
  await assert.rejects(moveOnce(release, 'canary', 1, late), failureWith('SERVING_FAILED', message));
  assert.equal(await weight(), 0.1);
});

test('a serving that fails while it grows fails the release at once', async (t) => {
  const { release, moveOnce, weight } = await halfway(t, () => 'failed');
  await assert.rejects(
    moveOnce(release, 'canary', 1),
    failureWith('SERVING_FAILED', /not sized for weight 1/),
  );
  assert.equal(await weight(), 0.1);
});

test('a promotion is past failing: it waits for its replicas as long as the policy says, and goes on with what there is', async (t) => {
  const { application, candidate, release, moveOnce } = await halfway(t, () => 'failed');
  await assert.rejects(moveOnce(release, 'promoted', 0), failureWith('NOT_YET', /not sized/));
  await moveOnce(release, 'promoted', 0, { attempt: 9, after: defaultPolicy.serving.readyWithin });
  assert.equal((await findRoute(db, application))?.stable, candidate);
});

test('a withdrawal asks nothing of servings', async (t) => {
  let asked = 0;
  const count = async (): Promise<never> => {
    asked += 1;
    throw new Error('no answer');
  };
  let broken = false;
  const { application, releases, provide, runtime, move, weight } = world(t, (local) => ({
    observe: (digest) => (broken ? count() : local.observe(digest)),
    apply: (serving) => (broken ? count() : local.apply(serving)),
  }));
  await releases.established({ application, runtime: runtime(1) }, provide);
  const { release, candidateServing } = await releases.register({ application, runtime: runtime(2) });
  await provide(release, candidateServing);
  await move(release, 'canary', 0.5);
  broken = true;
  await move(release, 'withdrawn', 0);
  assert.deepEqual([await weight(), asked], [0, 0]);
});

test('a late attempt of a step enlarges nothing once the release rolls back (invariant 5)', async (t) => {
  const { application, releases, provide, remove, runtime, living, move, moveOnce } = world(t);
  await releases.established({ application, runtime: runtime(1) }, provide);
  const { release, candidateServing } = await releases.register({ application, runtime: runtime(2) });
  await provide(release, candidateServing);
  await move(release, 'canary', 0.1);
  const { progress } = stepOf(release, 50);
  await recordProgress(db, release, { ...progress, stage: 'rolling-back', phase: 'Degraded' });
  await move(release, 'withdrawn', 0);
  await remove(release, candidateServing);
  await assert.rejects(
    moveOnce(release, 'canary', 1),
    failureWith('SERVING_FAILED', /needs no serving any more: it is rolling-back/),
  );
  assert.equal(living().length, 1);
});

test('a serving that two applications share has the replicas of both, and keeps those of the one that stays', async (t) => {
  const { application, releases, provide, runtime, move, row, keep } = world(t);
  const shared = runtime(2);
  const first = await releases.established({ application, runtime: shared }, provide);
  assert.equal((await row(first.candidateServing)).replicas, 2);
  const other = `${application}-b`;
  await releases.established({ application: other, runtime: runtime(1) }, provide);
  const plan = await releases.register({ application: other, runtime: shared });
  await provide(plan.release, plan.candidateServing);
  assert.equal((await row(first.candidateServing)).replicas, 3);
  await move(plan.release, 'canary', 0.1);
  await move(plan.release, 'canary', 1);
  assert.equal((await row(first.candidateServing)).replicas, 4);
  await move(plan.release, 'withdrawn', 0);
  await keep();
  assert.equal((await row(first.candidateServing)).replicas, 4);
});

test('load brings replicas at once, and takes them away one by one after a while, when no gateway uses them any more', async (t) => {
  const { application, releases, provide, loaded, say, lasting, scaledBy, living, keep, row, adapter } =
    world(t);
  say(0, 0, 0);
  const options = { application, runtime: loaded(1), policy: scaledBy({ maxReplicas: 3 }) };
  const { candidateServing: serving } = await releases.established(options, provide);
  await keep();
  assert.equal((await row(serving)).replicas, 1);

  // A long queue: twice what one replica can, 2 / 0.8 replicas. One look alone does not decide that.
  say(8, 80, 1);
  const published = async (): Promise<number> => {
    await keep();
    return (await row(serving)).endpoints.length;
  };
  await keep();
  assert.equal((await row(serving)).replicas, 1);
  await lasting(serving, 2);
  await keep();
  assert.equal((await row(serving)).replicas, 3);
  await until('three answer', published, (count) => count === 3);
  const before = (await row(serving)).endpoints;
  assert.equal(living().length, 3);

  say(0, 0, 0.1);
  await keep();
  await lasting(serving, 0.3);
  await keep();
  await keep();
  assert.equal((await row(serving)).replicas, 3);
  const aWhile = `update servings set low_since = low_since - interval '10 minutes' where digest = $1 and low_since is not null`;
  assert.equal((await db.query(aWhile, [serving])).rowCount, 1);

  // A gateway has the table and answers a request that it routed by it.
  await renewLease(db, 'gateway-1', await readGeneration(db));
  t.after(() => dropLease(db, 'gateway-1'));
  const routedBy = await readGeneration(db);
  await keep();
  const last = (await adapter.observe(serving)).endpoints.at(-1);
  assert.equal((await row(serving)).replicas, 2);
  assert.deepEqual(
    (await row(serving)).endpoints,
    before.filter((endpoint) => endpoint !== last),
  );
  await keep();
  assert.equal(living().length, 3);
  await renewLease(db, 'gateway-1', await readGeneration(db), routedBy);
  await keep();
  assert.equal(living().length, 3);
  // One that fell silent before it took the table may use them until it serves the stable arm only.
  await renewLease(db, 'gateway-1', routedBy);
  await db.query(`update gateways set renewed_at = now() - interval '10 seconds' where id = 'gateway-1'`);
  await keep();
  assert.equal(living().length, 3);
  await renewLease(db, 'gateway-1', await readGeneration(db));
  await keep();
  assert.equal(living().length, 2);

  // The next step has a while of its own, and the floor is the end of it.
  await keep();
  assert.equal((await row(serving)).replicas, 2);
  for (const _ of ['the second replica', 'the floor']) {
    await db.query(aWhile, [serving]);
    await keep();
    await renewLease(db, 'gateway-1', await readGeneration(db));
    await keep();
  }
  assert.deepEqual([(await row(serving)).replicas, living().length], [1, 1]);
});

test('while not all replicas answer none is taken away: which is the last one cannot be told', async () => {
  const application = 'partly';
  const releases = releasesOn(db);
  const { candidateServing: digest } = await releases.established({
    application,
    runtime: exampleRuntime(1),
  });
  const serving = await getServing(db, digest);
  const applied: number[] = [];
  const adapter: ServingAdapter = {
    ...alwaysReady(db),
    endsTheLast: true,
    apply: async ({ replicas }) => void applied.push(replicas),
  };
  const all = [1, 2, 3].map((port) => `http://127.0.0.1:${port}`);
  const scaled = async (endpoints: string[]) => {
    const seen = { ...(await adapter.observe(digest)), wanted: 3, ready: endpoints.length, endpoints };
    return scale({ db, adapter, log: silentLog }, serving, seen);
  };
  assert.deepEqual(await scaled(all.slice(1)), all.slice(1));
  assert.deepEqual(applied, []);
  assert.deepEqual(await scaled(all), all.slice(0, 1));
  assert.deepEqual(applied, [1]);
  await db.query('delete from routes');
});

test('what does not say how busy it is loses no replica, and the while begins anew', async (t) => {
  const { application, releases, provide, loaded, say, sayNothing, lasting, scaledBy, keep, row } = world(t);
  say(8, 80, 1);
  const options = { application, runtime: loaded(1), policy: scaledBy({ maxReplicas: 2 }) };
  const { candidateServing: serving } = await releases.established(options, provide);
  await keep();
  await lasting(serving, 2);
  await until(
    'two answer',
    async () => {
      await keep();
      return (await row(serving)).endpoints.length;
    },
    (count) => count === 2,
  );
  say(0, 0, 0);
  await lasting(serving, 0);
  await keep();
  await db.query(`update servings set low_since = low_since - interval '1 day' where digest = $1`, [serving]);
  sayNothing();
  await keep();
  say(0, 0, 0);
  await keep();
  assert.equal((await row(serving)).replicas, 2);
});

test('a while of low utilisation counts for every worker, and not across a time that nobody saw', async (t) => {
  const { application, releases, runtime } = world(t);
  const { candidateServing: serving } = await releases.established({ application, runtime: runtime(1) });
  const ago = (minutes: number) =>
    db.query(
      `update servings set low_since = low_since - $2 * interval '1 minute', low_seen = low_seen - $2 * interval '1 minute'
        where digest = $1`,
      [serving, minutes],
    );
  const minutes = async () => Math.floor((await noteUtilisation(db, serving, true)) / 60_000);
  assert.equal(await minutes(), 0);
  for (let look = 1; look <= 3; look++) {
    await ago(0.9);
    await minutes();
  }
  assert.equal(await minutes(), 2);
  await ago(2);
  assert.equal(await minutes(), 0);
  assert.equal(await noteUtilisation(db, serving, false), 0);
  assert.equal(await minutes(), 0);
});

test('a serving that fails over and over is not started every second', async (t) => {
  const { application, runtime, keep, startedEver } = world(t);
  const broken = runtime(1, { 'fail-with': 'no' });
  // Promoted as if it had been ready.
  const { candidateServing: serving } = await releasesOn(db).established({ application, runtime: broken });
  const after = async (looks: number) => {
    for (let look = 0; look < looks; look++) await keep();
    return startedEver();
  };
  // Three starts make a failure of it.
  await until(
    'it has failed',
    () => after(1),
    (count) => count === 3,
  );
  const lastStart = (ago: string) =>
    db.query(`update servings set restarted_at = now() - $2::interval where digest = $1`, [serving, ago]);
  await lastStart('-1 hour');
  assert.equal(await after(5), 3);
  await lastStart('10 seconds');
  await until(
    'and once more',
    () => after(1),
    (count) => count > 3,
  );
});
