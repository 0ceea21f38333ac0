import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import type { Gateway } from '../../gateway/gateway.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { acknowledgementOf } from '../../store/routes.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';
import { answering, chunk, type FakeEngine, sse, startFakeEngine, streamOf } from './fake-engine.ts';
import {
  setRoute,
  startGatewayAnyhow,
  startTestGateway,
  stateOf,
  storeRevision,
  type TestGatewayOptions,
  temporaryState,
  tenantKey,
  until,
} from './support.ts';

let postgres: TestPostgres;
let db: Database;
let stableEngine: FakeEngine;
let canaryEngine: FakeEngine;
let stable: string;
let canary: string;
let key: string;
let state: ReturnType<typeof temporaryState>;
const running = new Set<Gateway>();

before(async () => {
  postgres = await startPostgres({ own: true });
  db = openDatabase(postgres.url);
  stableEngine = await startFakeEngine(answering(['stable']));
  canaryEngine = await startFakeEngine(answering(['canary']));
  stable = (await storeRevision(db, { name: 'stable', endpoints: [stableEngine.url] })).digest;
  canary = (await storeRevision(db, { name: 'canary', endpoints: [canaryEngine.url] })).digest;
  key = await tenantKey(db, 'shop');
});

after(async () => {
  await stableEngine.stop();
  await canaryEngine.stop();
  await db.end();
  await postgres.stop();
});

beforeEach(async () => {
  state = temporaryState();
  await db.query('delete from gateways');
});

afterEach(async () => {
  await Promise.all([...running].map((gateway) => gateway.stop()));
  running.clear();
  state.remove();
});

async function start(options: Partial<TestGatewayOptions> = {}, begin = startTestGateway): Promise<Gateway> {
  const gateway = await begin({ databaseUrl: postgres.url, stateFolder: state.path, ...options });
  running.add(gateway);
  return gateway;
}

async function stop(gateway: Gateway): Promise<void> {
  running.delete(gateway);
  await gateway.stop();
}

const canarySince = new Date();
const move = (weight: number, release = 'r1') =>
  setRoute(db, { application: 'support', stable, canary, release, weight, canarySince });

const ask = (gateway: Gateway, user: string, more: object = {}) =>
  fetch(`${gateway.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({ model: 'support', messages: [{ role: 'user', content: 'Hello' }], user, ...more }),
  });

/** What served the user: the engines answer with the name of their arm. */
async function servedBy(gateway: Gateway, user: string): Promise<string> {
  const body = (await (await ask(gateway, user)).json()) as { choices: { message: { content: string } }[] };
  return body.choices[0]?.message.content ?? '';
}

async function canaryUsers(gateway: Gateway, users: string[]): Promise<string[]> {
  const arms = await Promise.all(users.map((user) => servedBy(gateway, user)));
  return users.filter((_, index) => arms[index] === 'canary');
}

const acknowledged = (generation: number) =>
  until(
    () => acknowledgementOf(db, generation),
    ({ live, lagging }) => live > 0 && lagging.length === 0,
    'the acknowledgement',
  );

describe('a new generation of the route table', () => {
  it('is acknowledged only when new requests go by it (invariant 2)', async () => {
    await move(0);
    const gateway = await start();
    for (const weight of [1, 0, 1, 0]) {
      await acknowledged(await move(weight));
      assert.equal(await servedBy(gateway, 'ann'), weight === 1 ? 'canary' : 'stable');
    }
  });

  it('does not touch requests in flight, which hold their generation until they end', async () => {
    await move(0);
    const gateway = await start();
    await acknowledged(await move(1));
    const held = Promise.withResolvers<void>();
    canaryEngine.behave(async (_request, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(sse(chunk({ content: 'first' })));
      await held.promise;
      res.end(streamOf(['canary']));
    });
    const response = await ask(gateway, 'ann', { stream: true });
    const generation = await move(0);
    await acknowledged(generation);
    assert.deepEqual((await acknowledgementOf(db, generation)).draining, [gateway.id]);
    assert.equal(await servedBy(gateway, 'ann'), 'stable');
    held.resolve();
    assert.match(await response.text(), /canary.*\[DONE\]/s);
    await until(
      () => acknowledgementOf(db, generation),
      ({ draining }) => draining.length === 0,
      'the drained generation',
    );
    canaryEngine.behave(answering(['canary']));
  });

  it('keeps everybody in the canary while the weight rises, on every replica and after a restart (invariant 3)', async () => {
    const users = Array.from({ length: 80 }, (_, i) => `user-${i}`);
    await move(0.1);
    const gateway = await start();
    const otherState = temporaryState();
    const other = await start({ stateFolder: otherState.path });
    const ten = await canaryUsers(gateway, users);
    assert.ok(ten.length > 0 && ten.length < 25, `${ten.length} of 80 on the canary`);
    assert.deepEqual(await canaryUsers(other, users), ten);

    await acknowledged(await move(0.5));
    const fifty = await canaryUsers(gateway, users);
    assert.ok(ten.every((user) => fifty.includes(user)));
    assert.ok(fifty.length > ten.length);
    assert.deepEqual(await canaryUsers(other, users), fifty);

    await stop(gateway);
    assert.deepEqual(await canaryUsers(await start(), users), fifty);
    await stop(other);
    otherState.remove();
  });
});

describe('a gateway', () => {
  it('that stops answers what it has begun, moves its spool and gives its lease back', async () => {
    await move(0);
    const gateway = await start();
    const begun = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    stableEngine.behave(async (_request, res) => {
      begun.resolve();
      await held.promise;
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.end(streamOf(['late']));
    });
    const response = ask(gateway, 'ann', { stream: true });
    await begun.promise;
    const stopped = stop(gateway);
    stableEngine.behave(answering(['stable']));
    const { rows: leases } = await db.query('select id from gateways');
    assert.deepEqual(leases, [{ id: gateway.id }]);
    held.resolve();
    const answered = await response;
    assert.match(await answered.text(), /late.*\[DONE\]/s);
    await stopped;
    const { rows } = await db.query('select status from samples where id = $1', [
      answered.headers.get('x-request-id'),
    ]);
    assert.deepEqual(rows, [{ status: 200 }]);
    assert.deepEqual((await db.query('select id from gateways')).rows, []);
  });

  it('keeps its name through restarts, so that its new lease replaces the old one', async () => {
    await move(0);
    const first = await start();
    await stop(first);
    assert.equal((await start()).id, first.id);
  });

  it('does not share its state folder', async () => {
    await move(0);
    await start();
    const { writeFileSync } = await import('node:fs');
    writeFileSync(`${state.path}/lock`, String(process.ppid));
    await assert.rejects(start(), /uses the state folder/);
  });
});

describe('without the database', () => {
  it('a gateway serves on, after a while its stable arms only, and both again when it is back (invariant 2)', async () => {
    await move(1);
    const patientState = temporaryState();
    const patient = await start({ stateFolder: patientState.path, stableOnlyAfter: PATIENCE_MS });
    const gateway = await start({ stableOnlyAfter: 2_500 });
    const generation = (await stateOf(gateway)).generation;
    await postgres.process?.stop();
    await until(
      () => stateOf(gateway),
      ({ stableOnly }) => stableOnly,
      'stable only',
    );
    const response = await ask(gateway, 'ann');
    assert.match(await response.text(), /stable/);
    assert.equal(await servedBy(patient, 'ann'), 'canary');
    assert.match(await (await fetch(gateway.metricsUrl)).text(), /slipway_gateway_stable_only 1/);
    assert.equal((await stateOf(gateway)).generation, generation);

    await postgres.process?.start();
    await stop(patient);
    patientState.remove();
    await until(
      () => servedBy(gateway, 'ann'),
      (arm) => arm === 'canary',
      'the canary again',
    );
    // Served by the stable arm, and still a request of the canary's user (invariant 12).
    const row = await until(
      async () =>
        (
          await db
            .query('select arm, revision from samples where id = $1', [response.headers.get('x-request-id')])
            .catch(() => ({ rows: [] }))
        ).rows[0] ?? null,
      (found) => found !== null,
      'the sample',
    );
    assert.deepEqual(row, { arm: 'canary', revision: stable });
  });

  it('a gateway starts from its last table and keys, with its stable arms only', async () => {
    await move(1);
    await stop(await start());
    await postgres.process?.stop();
    const newState = temporaryState();
    try {
      const gateway = await start({}, startGatewayAnyhow);
      assert.equal(await servedBy(gateway, 'ann'), 'stable');
      assert.equal((await stateOf(gateway)).stableOnly, true);
      assert.equal((await fetch(`${gateway.url}/readyz`)).status, 200);

      const unborn = await start({ stateFolder: newState.path }, startGatewayAnyhow);
      assert.equal((await fetch(`${unborn.url}/readyz`)).status, 503);
      const response = await ask(unborn, 'ann');
      assert.equal(response.status, 503);
      assert.match(await response.text(), /DEPENDENCY_UNAVAILABLE/);
      await stop(unborn);
    } finally {
      newState.remove();
      await postgres.process?.start();
    }
  });
});
