import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import { createNoticesActivities } from '../../activities/notices.ts';
import { listEvents } from '../../store/releases.ts';
import { asAttempt } from '../support/activity.ts';
import { databaseOfFile } from '../support/database.ts';
import { silentLog } from '../support/log.ts';
import { startReceiver } from '../support/receiver.ts';
import { releasesOn, stepOf } from '../support/releases.ts';

const db = await databaseOfFile();
const releases = releasesOn(db);

type Notification = Parameters<ReturnType<typeof createNoticesActivities>['notify']>[0];
const notify = (step: Notification): Promise<void> =>
  createNoticesActivities({ db, log: silentLog, webhookSecret: 'shared' }).notify(step);

const noticesOf = async (release: string) =>
  (await listEvents(db, release)).filter(({ kind }) => kind === 'notice');

test('a notice reaches the webhook of the release, and stands in its audit once, however often it is tried', async (t) => {
  const receiver = await startReceiver(t);
  const { release } = await releases.register({ application: 'told', spec: { webhook: receiver.url } });
  const send = (attempt: number) =>
    asAttempt(() => notify({ ...stepOf(release, 7), event: 'sign-off', text: 'please sign' }), {
      attempt,
      after: attempt * 1_000,
    });
  await send(1);
  await send(2);
  assert.equal(receiver.received.length, 2);
  assert.equal(receiver.received[0]?.body, receiver.received[1]?.body);
  assert.equal(receiver.received[0]?.headers['idempotency-key'], `${release}/7/sign-off`);
  assert.equal((await noticesOf(release)).length, 1);
});

test('without a webhook the audit is told alone', async () => {
  const { release } = await releases.register({ application: 'quiet' });
  await asAttempt(() => notify({ ...stepOf(release), event: 'promoted', text: 'done' }));
  const [event] = await noticesOf(release);
  assert.deepEqual(event?.details, { event: 'promoted', text: 'done' });
});

test('a webhook that is down is tried a few times, and then the release goes on', async (t) => {
  const receiver = await startReceiver(t);
  receiver.answerWith(503);
  const { release } = await releases.register({ application: 'down', spec: { webhook: receiver.url } });
  const send = (attempt: number) =>
    asAttempt(() => notify({ ...stepOf(release), event: 'rolled-back', text: 'bad' }), { attempt });
  for (const attempt of [1, 2, 3]) {
    await assert.rejects(send(attempt), (error) => {
      assert.ok(error instanceof ApplicationFailure);
      assert.equal(error.nonRetryable, false);
      assert.doesNotMatch(error.message, /\/hooks/);
      return error.type === 'NOTICE_NOT_DELIVERED' && Number(error.nextRetryDelay) <= 8_000;
    });
  }
  await send(4);
  assert.equal(receiver.received.length, 4);
});

test('a webhook that refuses is not tried again', async (t) => {
  const receiver = await startReceiver(t);
  receiver.answerWith(404);
  const { release } = await releases.register({ application: 'refusing', spec: { webhook: receiver.url } });
  await asAttempt(() => notify({ ...stepOf(release), event: 'promoted', text: 'done' }));
  assert.equal(receiver.received.length, 1);
});
