import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import type { Notice } from '../../../adapters/notices/notice.ts';
import { createWebhookSink } from '../../../adapters/notices/webhook.ts';
import { startReceiver } from '../../support/receiver.ts';

const notice: Notice = {
  id: 'r1/3/rolled-back',
  release: 'r1',
  application: 'support-answers',
  event: 'rolled-back',
  stage: 'rolling-back',
  text: 'errors breached',
  at: '2026-01-05T00:00:00.000Z',
};

test('a notice is one POST of JSON, signed over its body, with its id as idempotency key', async (t) => {
  const receiver = await startReceiver(t);
  const sink = createWebhookSink({ url: `${receiver.url}/hooks/secret-path`, secret: 'shared' });
  assert.deepEqual(await sink.deliver(notice), { kind: 'delivered' });
  const [request] = receiver.received;
  assert.ok(request);
  assert.deepEqual(JSON.parse(request.body), notice);
  assert.equal(request.method, 'POST');
  assert.equal(request.headers['idempotency-key'], 'r1/3/rolled-back');
  const expected = createHmac('sha256', 'shared').update(request.body).digest('hex');
  assert.equal(request.headers['x-slipway-signature'], `sha256=${expected}`);
  assert.doesNotMatch(sink.name, /secret-path/);
});

test('without a secret it is unsigned', async (t) => {
  const receiver = await startReceiver(t);
  await createWebhookSink({ url: receiver.url }).deliver(notice);
  assert.equal(receiver.received[0]?.headers['x-slipway-signature'], undefined);
});

test('what may pass by itself is to be retried, what will not is refused; a redirect is not followed', async (t) => {
  const receiver = await startReceiver(t);
  const outcome = async (status: number) => {
    receiver.answerWith(status);
    const { kind } = await createWebhookSink({ url: receiver.url }).deliver(notice);
    return kind;
  };
  for (const status of [500, 503, 429, 408]) assert.equal(await outcome(status), 'retry', String(status));
  for (const status of [400, 401, 404, 307]) assert.equal(await outcome(status), 'refused', String(status));
  assert.equal(receiver.received.length, 8);
});

test('a receiver that is silent, gone, or no URL at all never throws', async (t) => {
  const receiver = await startReceiver(t);
  receiver.answerWith('never');
  const silent = await createWebhookSink({ url: receiver.url, timeoutMs: 100 }).deliver(notice);
  assert.deepEqual(silent, { kind: 'retry', message: 'timed out' });
  await receiver.stop();
  const gone = await createWebhookSink({ url: receiver.url }).deliver(notice);
  assert.deepEqual(gone, { kind: 'retry', message: 'ECONNREFUSED' });
  assert.equal((await createWebhookSink({ url: 'not a url' }).deliver(notice)).kind, 'refused');
  assert.equal((await createWebhookSink({ url: 'file:///etc/passwd' }).deliver(notice)).kind, 'refused');
});
