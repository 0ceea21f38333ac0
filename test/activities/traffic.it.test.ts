import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import type { Move } from '../../activities/contract.ts';
import { createTrafficActivities } from '../../activities/traffic.ts';
import { inTransaction } from '../../store/database.ts';
import { dropLease, findRoute, readGeneration, renewLease } from '../../store/routes.ts';
import { ASKED_AT, asAttempt } from '../support/activity.ts';
import { databaseOfFile } from '../support/database.ts';
import { silentLog } from '../support/log.ts';
import { alwaysReady, releasesOn, stepOf } from '../support/releases.ts';
import { until } from '../support/servings.ts';
import { lastingLease } from '../support/slow-gateway.ts';

const db = await databaseOfFile();

/** One attempt of a move. */
const attempt = (release: string, to: Move['to'], phase: number, weight = 0): Promise<void> => {
  const canarySince = to === 'canary' ? ASKED_AT : null;
  const { moveTraffic } = createTrafficActivities({ db, adapter: alwaysReady(db), log: silentLog });
  return asAttempt(() => moveTraffic({ ...stepOf(release), move: { to, weight, phase, canarySince } }));
};

const waitingForLocks = async (): Promise<number> => {
  const { rows } = await db.query<{ waiting: number }>(
    `select count(*) as waiting from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`,
  );
  return rows[0]?.waiting ?? 0;
};

test('a withdrawal that was written is through only when the gateways have acknowledged it (invariant 2)', async (t) => {
  const releases = releasesOn(db);
  const application = 'acknowledged';
  await releases.established({ application });
  const { release } = await releases.register({ application });
  await attempt(release, 'canary', 100, 0.1);
  await lastingLease(db, 'gateway-1', await readGeneration(db));
  t.after(() => dropLease(db, 'gateway-1'));
  for (const _ of ['first', 'second']) {
    await assert.rejects(attempt(release, 'withdrawn', 101), (error) => {
      assert.ok(error instanceof ApplicationFailure);
      assert.match(error.message, /waiting for gateway-1/);
      return true;
    });
  }
  await renewLease(db, 'gateway-1', await readGeneration(db));
  await attempt(release, 'withdrawn', 101);
});

test('what a late attempt writes after its fence, the withdrawal sees and takes back', async () => {
  const releases = releasesOn(db);
  const application = 'late';
  const { candidate: stable } = await releases.established({ application });
  const { release } = await releases.register({ application });
  const attempts: Promise<void>[] = [];
  await inTransaction(db, async (tx) => {
    // Nobody takes a generation meanwhile: the canary's move stands between its fence and its write.
    await tx.query('select 1 from route_state for update');
    attempts.push(attempt(release, 'canary', 200, 0.1));
    await until('the canary waits', waitingForLocks, (count) => count === 1);
    attempts.push(attempt(release, 'withdrawn', 201));
    await until('the withdrawal waits', waitingForLocks, (count) => count === 2);
  });
  await Promise.allSettled(attempts);
  const route = await findRoute(db, application);
  assert.deepEqual([route?.release, route?.canary, route?.weight, route?.stable], [null, null, 0, stable]);
});

test('a withdrawal that finds nothing to take back keeps a late move out all the same (invariant 5)', async () => {
  const releases = releasesOn(db);
  const application = 'never-moved';
  const { candidate: stable } = await releases.established({ application });
  const { release } = await releases.register({ application });
  await attempt(release, 'withdrawn', 301);
  await assert.rejects(attempt(release, 'canary', 300, 0.1), ApplicationFailure);
  const route = await findRoute(db, application);
  assert.deepEqual([route?.release, route?.canary, route?.weight, route?.stable], [null, null, 0, stable]);
});
