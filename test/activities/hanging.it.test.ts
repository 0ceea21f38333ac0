import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createServingActivities } from '../../activities/serving.ts';
import { createTrafficActivities } from '../../activities/traffic.ts';
import type { ServingAdapter } from '../../adapters/serving/adapter.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { findRoute } from '../../store/routes.ts';
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
