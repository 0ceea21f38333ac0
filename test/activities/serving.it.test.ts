import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import { createServingActivities, keepServings } from '../../activities/serving.ts';
import { createLocalServing, stopAll } from '../../adapters/serving/local/local.ts';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import { inTransaction } from '../../store/database.ts';
import { recordProgress } from '../../store/releases.ts';
import { dropLease, readGeneration, renewLease } from '../../store/routes.ts';
import { getServing, withServingLock } from '../../store/servings.ts';
import { asAttempt, watched } from '../support/activity.ts';
import { databaseOfFile } from '../support/database.ts';
import { silentLog } from '../support/log.ts';
import { releasesOn, stepOf } from '../support/releases.ts';
import { exampleRuntime, servingSandbox, standIn, until } from '../support/servings.ts';
import { lastingLease } from '../support/slow-gateway.ts';

const db = await databaseOfFile();
const releases = releasesOn(db);

/** Servings of its own for each test, and an application's name that nobody else has. */
function world(t: TestContext) {
  const box = servingSandbox();
  t.after(async () => {
    // What another test routes to is none of the next one's to keep.
    await db.query('delete from routes');
    await box.cleanUp();
  });
  const adapter = createLocalServing({ stateDir: box.stateDir, command: standIn, graceMs: 2_000 });
  const deps = { db, adapter, log: silentLog };
  const { provideServing, removeServing } = createServingActivities(deps);
  const application = `app-${process.hrtime.bigint()}`;
  /** Makes a runtime that no other test shares. */
  const runtime = (replicas = 1, flags: Parameters<typeof exampleRuntime>[1] = {}) =>
    exampleRuntime(replicas, { ...flags, 'served-for': application });
  return {
    ...box,
    adapter,
    application,
    runtime,
    keep: () => keepServings(deps),
    provide: (release: string, serving: string, told?: (message: string) => void) =>
      watched(() => provideServing({ ...stepOf(release), serving }), told),
    remove: (release: string, serving: string, told?: (message: string) => void) =>
      watched(() => removeServing({ ...stepOf(release), serving }), told),
    provideOnce: (release: string, serving: string, at: Parameters<typeof asAttempt>[1]) =>
      asAttempt(() => provideServing({ ...stepOf(release), serving }), at),
    removeOnce: (release: string, serving: string, at: Parameters<typeof asAttempt>[1] = {}) =>
      asAttempt(() => removeServing({ ...stepOf(release), serving }), at),
    endpoints: async (serving: string) => (await getServing(db, serving)).endpoints,
  };
}

const failureWith =
  (type: string, text: RegExp, nonRetryable: boolean) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ApplicationFailure, String(error));
    assert.deepEqual([error.type, error.nonRetryable], [type, nonRetryable]);
    assert.match(error.message, text);
    return true;
  };

test('a serving is provided: what is awaited is told, and the gateways learn where it answers, once', async (t) => {
  const { provide, application, runtime, adapter, endpoints, living, stateDir } = world(t);
  const loading = join(stateDir, 'loading');
  mkdirSync(stateDir, { recursive: true });
  writeFileSync(loading, '');
  const plan = await releases.register({ application, runtime: runtime(2, { 'loads-while': loading }) });
  const before = await readGeneration(db);
  const told: string[] = [];
  await provide(plan.release, plan.candidateServing, (message) => {
    told.push(message);
    rmSync(loading, { force: true });
  });
  assert.equal(told[0], '0 of 2 replicas ready, 2 loading the model');
  const seen = await adapter.observe(plan.candidateServing);
  assert.equal(seen.state, 'ready');
  assert.deepEqual(await endpoints(plan.candidateServing), [...seen.endpoints].sort());
  assert.equal(await readGeneration(db), before + 1);
  await provide(plan.release, plan.candidateServing);
  assert.equal(await readGeneration(db), before + 1);
  assert.equal(living().length, 2);
});

test('a serving that cannot start ends the watch at once, with the log and a remedy, and is not started over and over', async (t) => {
  const { provide, application, runtime, startedEver } = world(t);
  const failing = runtime(1, { 'fail-with': 'vllm serve: error: unrecognized arguments: --bogus' });
  const plan = await releases.register({ application, runtime: failing });
  await assert.rejects(provide(plan.release, plan.candidateServing), (error) => {
    failureWith('SERVING_FAILED', /unrecognized arguments: --bogus\nCorrect runtime\.flags/, true)(error);
    const [details] = (error as ApplicationFailure).details ?? [];
    assert.match(JSON.stringify(details), /Correct runtime\.flags/);
    return true;
  });
  assert.equal(startedEver(), 3);
});

test("a serving is awaited as long as the policy says, by the server's clock", async (t) => {
  const { provideOnce, application, runtime } = world(t);
  const policy = { serving: { ...defaultPolicy.serving, readyWithin: 60_000 } };
  const plan = await releases.register({ application, policy, runtime: runtime(1, { unhealthy: true }) });
  const after = (ms: number) => provideOnce(plan.release, plan.candidateServing, { attempt: 2, after: ms });
  await assert.rejects(after(0), failureWith('NOT_YET', /0 of 1 replicas ready/, false));
  await assert.rejects(after(59_900), (error) => {
    assert.equal((error as ApplicationFailure).nextRetryDelay, 100);
    return failureWith('NOT_YET', /0 of 1 replicas ready/, false)(error);
  });
  await assert.rejects(after(60_000), failureWith('SERVING_FAILED', /not ready within 60 s: 0 of 1/, true));
});

test('a worker that died after its first attempt leaves the rest to the next, also when nothing was started', async (t) => {
  const { provideOnce, application, runtime, living } = world(t);
  const plan = await releases.register({ application, runtime: runtime(2) });
  const again = () =>
    provideOnce(plan.release, plan.candidateServing, { attempt: 2 }).then(
      () => true,
      () => false,
    );
  await until('provided', again, Boolean);
  assert.equal(living().length, 2);
});

test('an attempt that was given up for lost applies nothing once the release rolls back (invariant 5)', async (t) => {
  const { provide, provideOnce, remove, application, runtime, living } = world(t);
  const plan = await releases.register({ application, runtime: runtime() });
  await provide(plan.release, plan.candidateServing);
  const { progress } = stepOf(plan.release, 50);
  await recordProgress(db, plan.release, { ...progress, stage: 'rolling-back', phase: 'Degraded' });
  await remove(plan.release, plan.candidateServing);
  const late = () => provideOnce(plan.release, plan.candidateServing, { attempt: 1 });
  await assert.rejects(
    late(),
    failureWith('SERVING_FAILED', /needs no serving any more: it is rolling-back/, true),
  );
  assert.deepEqual(living(), []);
});

test('a serving stays while a route or another active release needs it; its last user removes it', async (t) => {
  const { provide, removeOnce, remove, application, runtime, living, endpoints } = world(t);
  const shared = runtime(1);
  const stable = await releases.established({ application, runtime: shared }, provide);

  // A prompt-only release shares it; rolled back, it leaves it.
  const second = await releases.register({ application, runtime: shared });
  assert.equal(second.candidateServing, stable.candidateServing);
  await releases.move(second.release, 'canary', 0.1);
  await releases.move(second.release, 'withdrawn', 0);
  await removeOnce(second.release, second.candidateServing);
  assert.equal(living().length, 1);
  assert.equal((await endpoints(second.candidateServing)).length, 1);
  await releases.end(second.release, 'rolled-back');

  // The application moves on to a serving of its own, but another application's active release has chosen the old one.
  const third = await releases.register({ application, runtime: runtime(1, { 'max-num-seqs': 7 }) });
  await provide(third.release, third.candidateServing);
  await releases.move(third.release, 'promoted', 0);
  const other = await releases.register({ application: `${application}-b`, runtime: shared });
  await removeOnce(third.release, stable.candidateServing);
  assert.equal(living().length, 2);

  await releases.end(other.release, 'rolled-back');
  await remove(third.release, stable.candidateServing);
  assert.equal(living().length, 1);
  assert.deepEqual(await endpoints(stable.candidateServing), []);
  await remove(third.release, stable.candidateServing);
});

test('a release that is being registered keeps the serving that it wants from a removal, and finds it answering', async (t) => {
  const { provide, application, runtime, endpoints, remove, removeOnce } = world(t);
  const own = releasesOn(db);
  const old = await own.established({ application, runtime: runtime() }, provide);
  const now = await own.established({ application, runtime: runtime(1, { 'max-num-seqs': 7 }) }, provide);
  const waiting = async () => {
    const { rows } = await db.query<{ count: number }>(
      `select count(*) as count from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    return rows[0]?.count;
  };
  const { registering, removing } = await inTransaction(db, async (tx) => {
    // It has the serving already, and not yet the application.
    await tx.query(`select pg_advisory_xact_lock(hashtextextended('slipway release ' || $1, 0))`, [
      `${application}-3`,
    ]);
    const registering = own.register({ application, runtime: runtime() });
    await until('the registration waits', waiting, (count) => count === 1);
    const removing = removeOnce(now.release, old.candidateServing);
    await until('the removal waits', waiting, (count) => count === 2);
    return { registering, removing };
  });
  assert.equal((await registering).sharesServing, true);
  await removing;
  assert.equal((await endpoints(old.candidateServing)).length, 1);
  await own.end(`${application}-3`, 'rolled-back');
  await remove(now.release, old.candidateServing);
  assert.equal((await own.register({ application, runtime: runtime() })).sharesServing, false);
});

test('a serving goes only when every live gateway has acknowledged that it is gone (invariant 2)', async (t) => {
  const { provide, removeOnce, remove, application, runtime, living, endpoints } = world(t);
  const plan = await releases.register({ application, runtime: runtime() });
  await provide(plan.release, plan.candidateServing);
  await lastingLease(db, 'gateway-1', await readGeneration(db));
  t.after(() => dropLease(db, 'gateway-1'));
  await assert.rejects(
    removeOnce(plan.release, plan.candidateServing),
    failureWith('NOT_YET', /waiting for gateways to let go of it: gateway-1/, false),
  );
  assert.equal(living().length, 1);
  assert.deepEqual(await endpoints(plan.candidateServing), []);
  // A gateway that fell silent goes on by its table until it serves the stable arm only.
  await db.query(`update gateways set renewed_at = now() - interval '10 seconds' where id = 'gateway-1'`);
  await assert.rejects(
    removeOnce(plan.release, plan.candidateServing),
    failureWith('NOT_YET', /waiting until silent gateways serve the stable arm only: gateway-1/, false),
  );
  assert.equal(living().length, 1);
  await renewLease(db, 'gateway-1', await readGeneration(db));
  await remove(plan.release, plan.candidateServing);
  assert.equal(living().length, 0);
});

test('requests in flight come to their end first, within bounds that begin when no gateway sends any more', async (t) => {
  const { provide, removeOnce, application, runtime, living } = world(t);
  const plan = await releases.register({ application, runtime: runtime(2, { 'in-flight': 3 }) });
  await provide(plan.release, plan.candidateServing);
  let told: unknown;
  const removeAfter = (after: number) =>
    removeOnce(plan.release, plan.candidateServing, { after, told, heard: (details) => (told = details) });
  const gateway = 'one-that-takes-long';
  t.after(() => dropLease(db, gateway));
  await lastingLease(db, gateway, (await readGeneration(db)) - 1);
  await assert.rejects(removeAfter(0), failureWith('NOT_YET', /waiting for gateways to let go/, false));
  await renewLease(db, gateway, await readGeneration(db));
  const inFlight = failureWith('NOT_YET', /waiting for 6 requests in flight/, false);
  await assert.rejects(removeAfter(121_000), inFlight);
  await assert.rejects(removeAfter(240_000), inFlight);
  assert.equal(living().length, 2);
  await removeAfter(242_000);
  assert.equal(living().length, 0);
});

test('what routes point to is kept alive and published, what they do not point to is left alone', async (t) => {
  const { provide, keep, application, runtime, living, endpoints, stateDir, adapter } = world(t);
  const routed = await releases.established({ application, runtime: runtime(2) }, provide);
  const broken = await releases.established({
    application: `${application}-broken`,
    runtime: runtime(1, { 'fail-with': 'no' }),
  });
  const waiting = await releases.register({ application: `${application}-b`, runtime: runtime(1) });
  await provide(waiting.release, waiting.candidateServing);
  assert.equal((await adapter.observe(broken.candidateServing)).state, 'absent');

  const published = async (): Promise<string[]> => {
    await keep();
    return endpoints(routed.candidateServing);
  };
  const first = await published();
  const [victim = 0] = living();
  process.kill(victim, 'SIGKILL');
  // Where it answered is not told any more; in its place comes another.
  const replaced = (now: string[]): boolean => now.length === 2 && now.some((one) => !first.includes(one));
  await until('replaced', published, replaced);

  // As after a restart of the machine: nothing runs, and only what has a route comes back.
  const before = living();
  await stopAll(stateDir);
  await until('all back', published, ({ length }) => length === 2);
  assert.deepEqual(
    living().filter((pid) => before.includes(pid)),
    [],
  );
  assert.equal((await adapter.observe(waiting.candidateServing)).state, 'absent');
});

test('whoever keeps servings does not bring back the one that is being removed (invariant 5)', async (t) => {
  const { adapter, keep, provide, application, runtime } = world(t);
  const { candidateServing: old } = await releases.established({ application, runtime: runtime() }, provide);
  const next = await releases.register({ application, runtime: runtime(1, { 'max-num-seqs': 9 }) });
  const waiting = async (): Promise<number> => {
    const { rows } = await db.query<{ waiting: number }>(
      `select count(*) as waiting from pg_locks l join pg_database d on d.oid = l.database
        where l.locktype = 'advisory' and not l.granted and d.datname = current_database()`,
    );
    return rows[0]?.waiting ?? 0;
  };
  // It has read that the old serving has a route, and waits for the lock that the removal holds.
  const keeping = await withServingLock(db, old, async () => {
    const started = keep();
    await until('waiting for the lock', waiting, (count) => count > 0);
    await releases.move(next.release, 'promoted', 0);
    await adapter.remove(old);
    return { done: started };
  });
  await keeping.done;
  assert.equal((await adapter.observe(old)).state, 'absent');
});
