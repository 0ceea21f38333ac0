import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client, Connection } from '@temporalio/client';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { buildApi } from '../../api/server.ts';
import { type Database, openDatabase } from '../../store/database.ts';

const nobody = '127.0.0.1:9';

describe('the API without', () => {
  let unreachable: Database;
  let connection: Connection;
  /** Knows one key and nothing else. */
  const answering = {
    query: async (sql: string) => ({
      rows: /from api_keys/.test(sql) ? [{ name: 'ana', role: 'admin' }] : [],
    }),
  } as unknown as Database;

  before(() => {
    unreachable = openDatabase(`postgres://nobody:secret@${nobody}/none`);
    connection = Connection.lazy({ address: nobody, connectTimeout: '1 second' });
  });
  after(async () => {
    await unreachable.end();
    await connection.close();
  });

  async function api(database: Database, lines: string[] = []): Promise<FastifyInstance> {
    const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
    return buildApi(
      { database, temporal: new Client({ connection }), taskQueue: 'none', cluster: null },
      logger,
    );
  }
  const headers = { authorization: 'Bearer slw_key' };

  for (const [what, database, url] of [
    ['Postgres', () => unreachable, '/v1/releases'],
    ['Postgres', () => unreachable, '/healthz'],
    ['Temporal', () => answering, '/v1/releases/some'],
  ] as const) {
    it(`${what}: ${url} answers 503 with what does not answer, and the log says why`, async () => {
      const lines: string[] = [];
      const app = await api(database(), lines);
      const response = await app.inject({ url, headers });
      await app.close();
      assert.equal(response.statusCode, 503, response.body);
      const { error } = response.json<{ error: { code: string; message: string; remedy: string } }>();
      assert.deepEqual([error.code, error.message], ['DEPENDENCY_UNAVAILABLE', `${what} does not answer`]);
      assert.ok(error.remedy);
      assert.doesNotMatch(response.body, /secret|ECONN|127\.0\.0\.1/);
      assert.match(lines.join(''), /ECONNREFUSED|14 UNAVAILABLE|DEADLINE_EXCEEDED/);
      assert.doesNotMatch(lines.join(''), /slw_key|:secret@/);
    });
  }

  it('a working handler: a defect answers 500 without a word of itself', async () => {
    const lines: string[] = [];
    const broken = {
      query: async (sql: string) => {
        if (/from api_keys/.test(sql)) return { rows: [{ name: 'ana', role: 'admin' }] };
        throw new TypeError('a secret detail');
      },
    } as unknown as Database;
    const app = await api(broken, lines);
    const response = await app.inject({ url: '/v1/releases', headers });
    await app.close();
    assert.equal(response.statusCode, 500);
    assert.doesNotMatch(response.body, /secret detail|TypeError/);
    assert.match(lines.join(''), /a secret detail/);
  });

  it("a word of a row in its log, where the database's error quotes one (invariant 13)", async () => {
    const lines: string[] = [];
    const refusing = {
      query: async (sql: string) => {
        if (/from api_keys/.test(sql)) return { rows: [{ name: 'ana', role: 'admin' }] };
        const fields = { code: '22P02', severity: 'ERROR', detail: 'Token "a prompt" is invalid.' };
        throw Object.assign(new Error('invalid input syntax: "a prompt"'), fields);
      },
    } as unknown as Database;
    const app = await api(refusing, lines);
    const response = await app.inject({ url: '/v1/releases', headers });
    await app.close();
    assert.equal(response.statusCode, 500);
    assert.doesNotMatch(lines.join(''), /a prompt/);
    assert.match(lines.join(''), /"code":"22P02"/);
    assert.match(lines.join(''), /store\/releases\.ts/);
  });
});
