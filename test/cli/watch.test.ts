import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { type ApiClient, type ServerEvent, UnreachableError } from '../../cli/client.ts';
import { makeOutput } from '../../cli/output.ts';
import { watch } from '../../cli/watch.ts';
import { SlipwayError } from '../../domain/errors.ts';

const MINUTE = 60_000;
const away = () => new SlipwayError('DEPENDENCY_UNAVAILABLE', 'Temporal does not answer');
const gone = () => new UnreachableError('the API does not answer', 'Start it');
const line: ServerEvent = {
  event: 'story',
  id: '1',
  data: { at: '2026-11-21T09:00:00.000Z', stage: 'canary', text: 'x' },
};
const end: ServerEvent = { event: 'end', id: undefined, data: { release: 'shop-1', stage: 'done' } };

let now = 0;
beforeEach(() => {
  now = 0;
  mock.method(performance, 'now', () => now);
});
afterEach(() => mock.reset());

/** Watches an API that does so at each connection. */
async function watched(...connections: (() => AsyncGenerator<ServerEvent>)[]): Promise<number> {
  let connection = 0;
  const events = () => {
    const next = connections[Math.min(connection, connections.length - 1)];
    connection += 1;
    if (next === undefined) throw new Error('no connection');
    return next();
  };
  const silent = new PassThrough() as unknown as NodeJS.WriteStream;
  return await watch({ events } as unknown as ApiClient, makeOutput(true, silent), 'shop-1');
}

async function* telling(...events: ServerEvent[]) {
  yield* events;
}

// biome-ignore lint/correctness/useYield: a connection that never comes about
async function* refusing(error: Error): AsyncGenerator<ServerEvent> {
  now += 25_000;
  throw error;
}

test('goes on when the API, or what the API needs, was away for less than a minute', async () => {
  const code = await watched(
    () => telling(line),
    () => refusing(gone()),
    () => refusing(away()),
    () => telling(end),
  );
  assert.equal(code, 0);
});

test('counts the minute from the end of the connection, not from the last event: a canary is quiet for days', async () => {
  async function* quiet() {
    yield line;
    now += 600 * MINUTE;
  }
  assert.equal(
    await watched(
      quiet,
      () => refusing(gone()),
      () => telling(end),
    ),
    0,
  );
});

test('gives up after a minute', async () => {
  await assert.rejects(
    watched(
      () => telling(line),
      () => refusing(away()),
    ),
    away(),
  );
  assert.equal(now, 75_000);
});

test('ends at once on any other refusal', async () => {
  const forbidden = new SlipwayError('FORBIDDEN', 'the key was taken back');
  await assert.rejects(
    watched(
      () => telling(line),
      () => refusing(forbidden),
    ),
    forbidden,
  );
  assert.equal(now, 25_000);
});

test('ends at once when nothing was ever heard', async () => {
  await assert.rejects(
    watched(() => refusing(away())),
    away(),
  );
  assert.equal(now, 25_000);
});
