import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../deploy/local/ports.ts';
import { type ManagedProcess, Supervisor } from '../../deploy/local/processes.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { countArms } from '../../store/ledger.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';
import { chunk, completionOf, type FakeEngine, sse, startFakeEngine, usageChunk } from './fake-engine.ts';
import { setRoute, storeRevision, temporaryState, tenantKey, until } from './support.ts';

const OUTAGE_MS = 20_000;
const CLIENTS = 12;

let postgres: TestPostgres;
let db: Database;
let engine: FakeEngine;
let gateway: ManagedProcess;
let url: string;
let key: string;
const state = temporaryState();
const supervisor = new Supervisor();

before(async () => {
  postgres = await startPostgres({ own: true, durable: true });
  db = openDatabase(postgres.url);
  engine = await startFakeEngine(async ({ body }, res) => {
    if (!body.stream) {
      await sleep(20);
      res.writeHead(200, { 'content-type': 'application/json' });
      res.end(JSON.stringify(completionOf('Hello')));
      return;
    }
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    for (const word of ['Hel', 'lo', '!']) {
      res.write(sse(chunk({ content: word })));
      await sleep(10);
    }
    res.end(`${sse(usageChunk)}data: [DONE]\n\n`);
  });
  const stable = await storeRevision(db, { name: 'stable', endpoints: [engine.url] });
  const canary = await storeRevision(db, { name: 'canary', endpoints: [engine.url] });
  await setRoute(db, {
    application: 'support',
    release: 'r1',
    weight: 0.5,
    stable: stable.digest,
    canary: canary.digest,
    canarySince: new Date(),
    scoredShare: 0.2,
  });
  key = await tenantKey(db, 'shop');
  const port = await freePort();
  url = `http://127.0.0.1:${port}`;
  gateway = await supervisor.start({
    name: 'gateway',
    command: process.execPath,
    args: [fileURLToPath(new URL('../../gateway/main.ts', import.meta.url))],
    env: {
      DATABASE_URL: postgres.url,
      SLIPWAY_GATEWAY_PORT: String(port),
      SLIPWAY_GATEWAY_METRICS_ADDRESS: '127.0.0.1:0',
      SLIPWAY_STATE_DIR: state.path,
      SLIPWAY_USER_HASH_KEY: 'a secret of the tests',
    },
    logFile: `${state.path}.log`,
    ready: async () => (await fetch(`${url}/readyz`)).status === 200,
  });
});

after(async () => {
  await supervisor.stopAll();
  await engine.stop();
  await db.end();
  await postgres.stop();
  state.remove();
});

/** Request ids by what the client got of the answer. */
const got = { whole: new Set<string>(), part: new Set<string>() };

/** A user who asks again and again. */
async function user(name: string, ended: AbortSignal): Promise<void> {
  for (let turn = 0; !ended.aborted; turn++) {
    let id: string | null = null;
    try {
      const response = await fetch(`${url}/v1/chat/completions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
        body: JSON.stringify({
          model: 'support',
          messages: [{ role: 'user', content: 'Hello' }],
          user: name,
          stream: turn % 2 === 0,
        }),
      });
      id = response.headers.get('x-request-id');
      // Rejects when the transfer has no clean end.
      const text = await response.text();
      assert.equal(response.status, 200, text);
      if (turn % 2 === 0) assert.match(text, /data: \[DONE\]\n\n$/);
      assert.ok(id !== null);
      got.whole.add(id);
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      if (id !== null) got.part.add(id);
      await sleep(50);
    }
  }
}

describe('the ledger (invariant 10)', () => {
  it('equals what the clients got, through a SIGKILL of the gateway under load and 20 s without Postgres', async () => {
    const ended = new AbortController();
    const users = Promise.all(Array.from({ length: CLIENTS }, (_, i) => user(`user-${i}`, ended.signal)));
    const reached = (count: number) =>
      until(
        () => got.whole.size,
        (size) => size >= count,
        `${count} answers`,
      );

    await reached(100);
    await gateway.kill('SIGKILL');
    await gateway.start();
    await reached(200);
    await postgres.process?.stop();
    const outage = sleep(OUTAGE_MS);
    await reached(got.whole.size + 100);
    // The records of the outage are in this process's spool only.
    await gateway.kill('SIGKILL');
    await gateway.start();
    await reached(got.whole.size + 100);
    await outage;
    await postgres.process?.start();
    await reached(got.whole.size + 50);
    ended.abort();
    await users;

    const readIds = async (where: string): Promise<string[]> => {
      const { rows } = await db.query<{ id: string }>(`select id from samples where ${where}`);
      return rows.map((row) => row.id);
    };
    const missing = async () => {
      const inLedger = new Set(await readIds('true').catch(() => []));
      return [...got.whole].filter((id) => !inLedger.has(id));
    };
    assert.deepEqual(
      await until(missing, (ids) => ids.length === 0, 'answers that are not in the ledger'),
      [],
    );
    await gateway.stop();

    const whole = await readIds('not interrupted and status = 200');
    assert.equal(new Set(whole).size, whole.length);
    assert.equal(
      (await readIds('true')).length,
      (await db.query('select distinct id from samples')).rows.length,
    );
    // What the ledger has as whole and no client has: written just before a SIGKILL, at most one a client and kill.
    const unseen = whole.filter((id) => !got.whole.has(id));
    assert.ok(unseen.length <= 2 * CLIENTS, `${unseen.length} answers that nobody got`);
    const interrupted = await readIds('interrupted');
    assert.ok(interrupted.every((id) => !got.whole.has(id)));

    // Each record once in the statistics too.
    const counts = await countArms(db, 'r1');
    assert.equal(counts.stable.samples + counts.canary.samples, (await readIds('true')).length);
    const { rows } = await db.query<{ n: number }>(
      `select sum(n)::int as n from user_totals where metric = 'latency'`,
    );
    assert.equal(rows[0]?.n, whole.length);
    const { rows: queued } = await db.query<{ n: number }>('select count(*) as n from scoring_queue');
    assert.ok((queued[0]?.n ?? 0) > 0);
  });
});
