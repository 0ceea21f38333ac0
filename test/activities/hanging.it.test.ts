import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createServingActivities, keepServings } from '../../activities/serving.ts';
import { createTrafficActivities } from '../../activities/traffic.ts';
import type { ServingAdapter } from '../../adapters/serving/adapter.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { findRoute } from '../../store/routes.ts';
import { getServing, withServingLock } from '../../store/servings.ts';
import { asAttempt } from '../support/activity.ts';
import { silentLog } from '../support/log.ts';
import { alwaysReady, releasesOn, stepOf } from '../support/releases.ts';
import { exampleRuntime, until } from '../support/servings.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';

let postgres: TestPostgres;
let db: Database;
before(async () => {
  postgres = await startPostgres();
  // As the worker opens it.
  db = openDatabase(postgres.url);
});
after(async () => {
  await db.end();
  await postgres.stop();
});

/** More than a worker has connections. */
const RELEASES = 12;

test('an abort goes through while a cluster that never answers holds up every other release (invariant 5)', async () => {
  const releases = releasesOn(db);
  const over = Promise.withResolvers<never>();
  over.promise.catch(() => {});
  let asked = 0;
  const silent = (): Promise<never> => {
    asked += 1;
    return over.promise;
  };
  const adapter: ServingAdapter = { ...alwaysReady(db), observe: silent };
  const application = 'aborted';
  await releases.established({ application });
  const { release } = await releases.register({ application });
  await releases.move(release, 'canary', 0.1);
  const others = [];
  for (let seed = 0; seed < RELEASES; seed++) {
    others.push(
      await releases.register({ application: `other-${seed}`, runtime: exampleRuntime(1, { seed }) }),
    );
  }
  const { provideServing } = createServingActivities({ db, adapter, log: silentLog });
  const stuck = others.map(({ release: other, candidateServing: serving }) =>
    asAttempt(() => provideServing({ ...stepOf(other), serving })),
  );
  const ended = Promise.allSettled(stuck);
  try {
    await until(
      'the cluster is asked',
      () => asked,
      (count) => count > 0,
    );
    const { moveTraffic } = createTrafficActivities({ db, adapter, log: silentLog });
    const move = { to: 'withdrawn', weight: 0, phase: 1_000, canarySince: null } as const;
    await asAttempt(() => moveTraffic({ ...stepOf(release), move }));
    const route = await findRoute(db, application);
    assert.deepEqual([route?.weight, route?.canary], [0, null]);
  } finally {
    over.reject(new Error('the test is over'));
    await ended;
  }
});

test('a serving that hangs keeps nobody from looking after the others, and is not looked after twice at once', async () => {
  const releases = releasesOn(db);
  const digests = [];
  for (let seed = 100; seed < 104; seed++) {
    const runtime = exampleRuntime(1, { seed });
    const plan = await releases.established({ application: `kept-${seed}`, runtime });
    digests.push(plan.candidateServing);
  }
  // The first in the order in which they are looked after.
  const [hung = '', ...others] = digests.sort();
  const over = Promise.withResolvers<never>();
  over.promise.catch(() => {});
  const looks = new Map<string, number>();
  const ready = alwaysReady(db);
  const adapter: ServingAdapter = {
    ...ready,
    observe: async (digest) => {
      looks.set(digest, (looks.get(digest) ?? 0) + 1);
      if (digest === hung) return over.promise;
      return { ...(await ready.observe(digest)), endpoints: [`http://${digest.slice(-4)}:1`] };
    },
  };
  const inHand = new Set<string>();
  const rounds = [keepServings({ db, adapter, log: silentLog }, inHand)];
  try {
    const told = () => Promise.all(others.map(async (digest) => (await getServing(db, digest)).endpoints));
    await until('the others are published', told, (endpoints) =>
      endpoints.every(({ length }) => length === 1),
    );
    await until(
      'they are let go of',
      () => [...inHand],
      (digests) => digests.length === 1,
    );
    const before = others.map((digest) => looks.get(digest) ?? 0);
    rounds.push(keepServings({ db, adapter, log: silentLog }, inHand));
    await rounds[1];
    assert.equal(looks.get(hung), 1);
    assert.ok(others.every((digest, index) => (looks.get(digest) ?? 0) > (before[index] ?? 0)));
  } finally {
    over.reject(new Error('the test is over'));
    await Promise.all(rounds);
  }
});

test("a serving's lock that another worker holds is waited for so long only", async () => {
  const other = openDatabase(postgres.url);
  const over = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  const holding = withServingLock(other, 'sha256:held', () => {
    held.resolve();
    return over.promise;
  });
  try {
    await held.promise;
    const waiting = withServingLock(db, 'sha256:held', async () => assert.fail('it is held'), 50);
    await assert.rejects(waiting, { code: 'DEPENDENCY_UNAVAILABLE', message: /another worker/ });
  } finally {
    over.resolve();
    await holding;
    await other.end();
  }
  assert.equal(await withServingLock(db, 'sha256:held', async () => 'free', 5_000), 'free');
});
