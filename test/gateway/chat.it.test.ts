import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import OpenAI from 'openai';
import type { Gateway } from '../../gateway/gateway.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';
import { type FakeEngine, startFakeEngine } from './fake-engine.ts';
import { setRoute, startTestGateway, storeRevision, temporaryState, tenantKey, until } from './support.ts';

let postgres: TestPostgres;
let db: Database;
let engine: FakeEngine;
let gateway: Gateway;
let client: OpenAI;
const state = temporaryState();

before(async () => {
  postgres = await startPostgres();
  db = openDatabase(postgres.url);
  engine = await startFakeEngine();
  const stable = await storeRevision(db, { name: 'plain', endpoints: [engine.url] });
  await setRoute(db, { application: 'support', stable: stable.digest });
  const key = await tenantKey(db, 'shop');
  gateway = await startTestGateway({ databaseUrl: postgres.url, stateFolder: state.path });
  client = new OpenAI({ apiKey: key, baseURL: `${gateway.url}/v1`, maxRetries: 0 });
});

after(async () => {
  await gateway.stop();
  await engine.stop();
  await db.end();
  await postgres.stop();
  state.remove();
});

async function sampleOf(request: string | null | undefined): Promise<Record<string, unknown>> {
  const row = await until(
    async () => (await db.query('select * from samples where id = $1', [request])).rows[0] ?? null,
    (found) => found !== null,
    `the sample of ${request}`,
  );
  return row as Record<string, unknown>;
}

describe('a chat request', () => {
  it('is answered by the revision of its application', async () => {
    const answer = await client.chat.completions.create({
      model: 'support',
      messages: [{ role: 'user', content: 'Where is my parcel?' }],
      temperature: 1.5,
      user: 'ann',
    });
    assert.equal(answer.choices[0]?.message.content, 'Hello, you');
    assert.equal(answer.model, 'support');
    assert.equal(answer.id, `chatcmpl-${answer._request_id}`);
    const asked = engine.requests.at(-1)?.body;
    assert.deepEqual(asked?.messages, [
      { role: 'system', content: 'You help.' },
      { role: 'user', content: 'Where is my parcel?' },
    ]);
    assert.equal(asked?.model, 'engine-model');
    assert.equal(asked?.temperature, 0);
    const sample = await sampleOf(answer._request_id);
    assert.equal(sample.tenant, 'shop');
    assert.equal(sample.arm, 'stable');
    assert.equal(sample.status, 200);
    assert.equal(sample.cost, (12 * 1 + 4 * 2) / 1e6);
  });

  it('is streamed when it asks for that', async () => {
    const stream = await client.chat.completions.create({
      model: 'support',
      messages: [{ role: 'user', content: 'Hello' }],
      stream: true,
    });
    let text = '';
    let usage = 0;
    for await (const part of stream) {
      assert.equal(part.model, 'support');
      text += part.choices[0]?.delta.content ?? '';
      usage += part.usage ? 1 : 0;
    }
    assert.equal(text, 'Hello, you');
    assert.equal(usage, 0);
  });
});
