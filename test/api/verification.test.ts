import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, Connection } from '@temporalio/client';
import { pino } from 'pino';
import { buildApi } from '../../api/server.ts';
import type { Database } from '../../store/database.ts';
import { until } from '../support/servings.ts';

test('verifications run one at a time, and whoever leaves gives up the turn', async () => {
  const lines: string[] = [];
  let known = 0;
  /** Verifications that have begun, each waiting for its word. */
  const begun: PromiseWithResolvers<void>[] = [];
  const database = {
    query: async (sql: string) => {
      if (/from api_keys/.test(sql)) {
        known += 1;
        return { rows: [{ name: 'ana', role: 'admin' }] };
      }
      const turn = Promise.withResolvers<void>();
      begun.push(turn);
      await turn.promise;
      return { rows: [] }; // there is no such release
    },
  } as unknown as Database;
  const connection = Connection.lazy({ address: '127.0.0.1:9' });
  const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
  const app = await buildApi(
    { database, temporal: new Client({ connection }), taskQueue: 'none', cluster: null },
    logger,
  );
  let left = 0;
  app.server.on('connection', (socket) => socket.on('close', () => (left += 1)));
  const url = `${await app.listen({ port: 0, host: '127.0.0.1' })}/v1/releases/some/verification`;
  const leaving = new AbortController();
  const ask = (signal?: AbortSignal) =>
    fetch(url, { headers: { authorization: 'Bearer slw_key' }, ...(signal ? { signal } : {}) });
  try {
    const first = ask();
    await until(
      'the first has begun',
      () => begun.length,
      (count) => count === 1,
    );
    const third = ask(leaving.signal);
    const gone = assert.rejects(third);
    await until(
      'another waits',
      () => known,
      (count) => count === 2,
    );
    const last = ask();
    await until(
      'one more waits',
      () => known,
      (count) => count === 3,
    );
    assert.equal(begun.length, 1);
    leaving.abort();
    await gone;
    await until(
      'the API sees who left',
      () => left,
      (count) => count === 1,
    );
    begun[0]?.resolve();
    assert.equal((await first).status, 404);
    await until(
      'the last has begun',
      () => begun.length,
      (count) => count === 2,
    );
    begun[1]?.resolve();
    assert.equal((await last).status, 404);
    assert.equal(begun.length, 2);
    assert.doesNotMatch(lines.join(''), /"level":50/);
  } finally {
    for (const turn of begun) turn.resolve();
    await app.close();
    await connection.close();
  }
});

test('more than 100 looks are refused', async () => {
  const database = { query: async () => ({ rows: [{ name: 'ana', role: 'admin' }] }) } as unknown as Database;
  const connection = Connection.lazy({ address: '127.0.0.1:9' });
  const context = { database, temporal: new Client({ connection }), taskQueue: 'none', cluster: null };
  const app = await buildApi(context, pino({ level: 'silent' }));
  const headers = { authorization: 'Bearer slw_key' };
  const response = await app.inject({ url: '/v1/releases/some/verification?looks=101', headers });
  assert.equal(response.statusCode, 422);
  assert.equal(response.json<{ error: { field: string } }>().error.field, 'looks');
  await app.close();
  await connection.close();
});
