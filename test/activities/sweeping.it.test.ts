import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import { createSweepingActivities } from '../../activities/sweeping.ts';
import { createTrafficActivities } from '../../activities/traffic.ts';
import type { SweepPlan, WorkflowState } from '../../domain/release/sweeping.ts';
import { inTransaction } from '../../store/database.ts';
import { activeRelease, endRelease, findRelease, listEvents } from '../../store/releases.ts';
import { ASKED_AT, asAttempt } from '../support/activity.ts';
import { databaseOfFile } from '../support/database.ts';
import { silentLog } from '../support/log.ts';
import { releasesOn, stepOf } from '../support/releases.ts';
import { until } from '../support/servings.ts';

const db = await databaseOfFile();

/** The sweeper's activities, and a Temporal that says this of every workflow. */
const sweepingWhere = (state: WorkflowState) =>
  createSweepingActivities({ db, executions: { stateOf: async () => state }, log: silentLog });

const terminated: WorkflowState = { kind: 'unfinished', how: 'terminated', at: ASKED_AT - 60_000 };

/** A move that stands still between its fence and its write, until the returned function is called. */
async function heldMove(release: string, to: 'promoted', phase: number): Promise<() => Promise<void>> {
  const { moveTraffic } = createTrafficActivities({ db, adapter: {} as never, log: silentLog });
  const held = Promise.withResolvers<void>();
  const locked = Promise.withResolvers<void>();
  const holding = inTransaction(db, async (tx) => {
    await tx.query('select 1 from route_state for update');
    locked.resolve();
    await held.promise;
  });
  await locked.promise;
  const move = { to, weight: 0, phase, canarySince: null };
  const moving = asAttempt(() => moveTraffic({ ...stepOf(release), move }));
  await until('the move waits', waitingForLocks, (count) => count === 1);
  return async () => {
    held.resolve();
    await holding;
    await moving;
  };
}

const waitingForLocks = async (): Promise<number> => {
  const { rows } = await db.query<{ waiting: number }>(
    `select count(*) as waiting from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`,
  );
  return rows[0]?.waiting ?? 0;
};

test('a promotion that a late attempt is about to write is waited for, and told as one', async () => {
  const releases = releasesOn(db);
  const application = 'late-promotion';
  await releases.established({ application });
  const { release } = await releases.register({ application });
  await releases.move(release, 'canary', 1);
  const goOn = await heldMove(release, 'promoted', 1_000);
  const beginning: Promise<SweepPlan | null> = asAttempt(() =>
    sweepingWhere(terminated).beginSweep({ release, grace: 0 }),
  );
  await until('the sweep waits for it', waitingForLocks, (count) => count === 2);
  await goOn();
  const plan = await beginning;
  assert.deepEqual([plan?.outcome, plan?.to], ['promoted', 'promoted']);
});

test('beginning again says the same, and is in the audit once', async () => {
  const releases = releasesOn(db);
  const application = 'again';
  await releases.established({ application });
  const { release } = await releases.register({ application });
  await releases.move(release, 'canary', 0.1);
  const begin = () => asAttempt(() => sweepingWhere(terminated).beginSweep({ release, grace: 60_000 }));
  const plan = await begin();
  assert.deepEqual([plan?.outcome, plan?.to], ['rolled-back', 'withdrawn']);
  assert.deepEqual(await begin(), plan);
  const [event, ...more] = (await listEvents(db, release)).filter(({ kind }) => kind === 'sweep');
  assert.deepEqual([event?.actor, event?.details.how, more.length], ['sweeper', 'terminated', 0]);
});

test('an attempt to register that comes after the end claims nothing: no release has the application for ever', async () => {
  const releases = releasesOn(db);
  const application = 'ended-first';
  await releases.established({ application });
  const late = `${application}-2`;
  await releases.end(late, 'rolled-back');
  await assert.rejects(
    releases.register({ application }),
    (error) => error instanceof ApplicationFailure && error.type === 'RELEASE_KEY_REUSED',
  );
  assert.equal(await findRelease(db, late), null);
  assert.equal(await activeRelease(db, application), null);
  const next = await releases.register({ application });
  await releases.end(next.release, 'rolled-back');
});

test('claim and end of one release wait for each other', async () => {
  const releases = releasesOn(db);
  const application = 'at-once';
  await releases.established({ application });
  const late = `${application}-2`;
  const { claiming } = await inTransaction(db, async (tx) => {
    await endRelease(
      tx,
      late,
      { sequence: 1, stage: 'rolled-back', phase: 'Degraded', reason: null },
      { outcome: 'rolled-back', at: new Date(ASKED_AT) },
    );
    const claiming = releases.register({ application });
    claiming.catch(() => {});
    await until('the claim waits', waitingForLocks, (count) => count === 1);
    return { claiming };
  });
  await assert.rejects(claiming, ApplicationFailure);
  assert.equal(await activeRelease(db, application), null);
});

test('a release that its completed workflow left active is swept, at once when somebody asks', async () => {
  const releases = releasesOn(db);
  const application = 'left-active';
  await releases.established({ application });
  const { release } = await releases.register({ application });
  const completed: WorkflowState = { kind: 'unfinished', how: 'completed', at: ASKED_AT - 60_000 };
  const begin = (grace: number) => asAttempt(() => sweepingWhere(completed).beginSweep({ release, grace }));
  assert.equal(await begin(60_001), null);
  const plan = await begin(0);
  assert.deepEqual([plan?.outcome, plan?.to], ['rolled-back', 'withdrawn']);
  assert.match(plan?.reason ?? '', /^its workflow completed without having ended it in /);
});

test('what runs again since it was found, and what has ended, is not swept and not fenced', async () => {
  const releases = releasesOn(db);
  const application = 'resumed';
  await releases.established({ application });
  const { release } = await releases.register({ application });
  const begin = (state: WorkflowState, grace = 0) =>
    asAttempt(() => sweepingWhere(state).beginSweep({ release, grace }));
  assert.equal(await begin({ kind: 'running' }), null);
  assert.equal(await begin(terminated, 60_001), null);
  await releases.move(release, 'canary', 0.1);
  await releases.end(release, 'rolled-back');
  assert.equal(await begin(terminated), null);
  assert.deepEqual(
    (await listEvents(db, release)).filter(({ kind }) => kind === 'sweep'),
    [],
  );
});
