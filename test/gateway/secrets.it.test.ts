import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import pino from 'pino';
import { freePort } from '../../deploy/local/ports.ts';
import type { Gateway } from '../../gateway/gateway.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';
import { chunk, type FakeEngine, sse, startFakeEngine } from './fake-engine.ts';
import {
  setRoute,
  startTestGateway,
  storeRevision,
  temporaryState,
  tenantKey,
  until,
  userSecret,
} from './support.ts';

let postgres: TestPostgres;
let db: Database;
let engine: FakeEngine;
let gateway: Gateway;
let key: string;
let log = '';
const state = temporaryState();

before(async () => {
  postgres = await startPostgres();
  db = openDatabase(postgres.url);
  engine = await startFakeEngine();
  const plain = await storeRevision(db, {
    name: 'plain',
    endpoints: [engine.url],
    prompt: { system: 'the-prompts-own-text' },
  });
  await setRoute(db, { application: 'support', stable: plain.digest, scoredShare: 1 });
  const dead = await storeRevision(db, { name: 'dead', endpoints: [`http://127.0.0.1:${await freePort()}`] });
  await setRoute(db, { application: 'dead', stable: dead.digest });
  key = await tenantKey(db, 'shop');
  const sink = new Writable({
    write(part, _encoding, done) {
      log += part;
      done();
    },
  });
  gateway = await startTestGateway({
    databaseUrl: postgres.url,
    stateFolder: state.path,
    vllmApiKey: 'secret-engine-key',
    logger: pino({ level: 'trace' }, sink),
  });
});

after(async () => {
  await gateway.stop();
  await engine.stop();
  await db.end();
  await postgres.stop();
  state.remove();
});

describe('logs and metrics (invariant 13)', () => {
  it('hold no key, no text of a prompt or a person, and no user, whatever goes wrong', async () => {
    const post = async (path: string, body: object, authorization = `Bearer ${key}`) => {
      const response = await fetch(`${gateway.url}${path}`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          authorization,
          'x-slipway-user': 'secret-header-user',
        },
        body: JSON.stringify(body),
      });
      await response.text().catch(() => {});
      return response.headers.get('x-request-id');
    };
    const request = (more: object = {}) => ({
      model: 'support',
      user: 'secret-user',
      messages: [{ role: 'user', content: 'secret-question' }],
      ...more,
    });
    const chat = '/v1/chat/completions';
    await post(chat, request());
    await post(chat, request({ user: undefined }));
    await post(chat, request(), 'Bearer secret-wrong-key');
    await post(chat, request({ model: 'dead' }));
    await post(chat, request({ variables: { name: 'secret-variable' } }));
    await post(chat, request({ model: 'secret-model' }));
    engine.behave((_request, res) => {
      res.writeHead(500);
      res.end('secret-engine-text');
    });
    await post(chat, request());
    engine.behave((_request, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(sse(chunk({ content: 'secret-answer' })), () => res.destroy());
    });
    await post(chat, request({ stream: true }));
    assert.ok(engine.requests.every(({ headers }) => headers.authorization === 'Bearer secret-engine-key'));
    // Rows that Postgres refuses while it quotes them.
    await db.query(`alter table scoring_queue add constraint short check (length(input) < 3) not valid`);
    engine.behave((_request, res) => {
      res.writeHead(200, { 'content-type': 'application/json' });
      res.end(JSON.stringify({ choices: [{ message: { content: 'secret-answer' } }] }));
    });
    const id = await post(chat, request());
    await until(
      () => log,
      (text) => text.includes(`"request":"${id}"`),
      'the refused record in the log',
    );
    await post('/v1/feedback', { request_id: id, thumb: 'up', comment: 'secret-comment' });

    const metrics = await (await fetch(gateway.metricsUrl)).text();
    for (const [name, text] of [
      ['the log', log],
      ['the metrics', metrics],
    ] as const) {
      for (const secret of ['secret-', 'the-prompts-own-text', key, userSecret]) {
        assert.ok(!text.includes(secret), `${name} must not hold ${secret}`);
      }
    }
    assert.match(log, /"reason":"upstream_refused"/);
    const { rows } = await db.query('select key from ledger_users');
    assert.ok(rows.length > 0 && rows.every((row) => /^[0-9a-f]{64}$/.test(String(row.key))));
  });
});
