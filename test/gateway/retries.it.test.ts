import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EndpointSource } from '../../adapters/endpoints/endpoints.ts';
import { freePort } from '../../deploy/local/ports.ts';
import type { Revision } from '../../domain/revision.ts';
import type { Gateway, GatewayOptions } from '../../gateway/gateway.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { acknowledgementOf, publishEndpoints, readGeneration } from '../../store/routes.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';
import {
  answering,
  chunk,
  completionOf,
  type EngineBehaviour,
  type EngineRequest,
  type FakeEngine,
  sse,
  startFakeEngine,
} from './fake-engine.ts';
import { setRoute, startTestGateway, storeRevision, temporaryState, tenantKey, until } from './support.ts';

/** How long a first attempt takes before it fails, and a second one to answer, ms; the latency that is recorded holds both. */
const HELD_MS = 60;
/** Both, s; a timer may come a millisecond early. */
const HELD_TWICE_S = (2 * HELD_MS - 2) / 1000;

let postgres: TestPostgres;
let db: Database;
let engines: FakeEngine[];
let pair: Revision;
let gateway: Gateway;
let key: string;
const started: { gateway: Gateway; remove: () => void }[] = [];

async function start(options: Partial<GatewayOptions> = {}): Promise<Gateway> {
  const state = temporaryState();
  const running = await startTestGateway({
    databaseUrl: postgres.url,
    stateFolder: state.path,
    ...options,
  });
  started.push({ gateway: running, remove: state.remove });
  return running;
}

async function application(name: string, endpoints: string[]): Promise<Revision> {
  const revision = await storeRevision(db, { name, endpoints });
  await setRoute(db, { application: name, stable: revision.digest });
  return revision;
}

const deadUrl = async () => `http://127.0.0.1:${await freePort()}`;

before(async () => {
  postgres = await startPostgres({ own: true });
  db = openDatabase(postgres.url);
  engines = await Promise.all([startFakeEngine(), startFakeEngine(), startFakeEngine()]);
  const [a, b] = urls();
  pair = await application('pair', [a, b]);
  await application('three', urls());
  await application('single', [a]);
  await application('mostly-dead', [await deadUrl(), await deadUrl(), a]);
  key = await tenantKey(db, 'shop');
  gateway = await start();
});

beforeEach(() => {
  for (const engine of engines) {
    engine.requests.length = 0;
    engine.behave(answer);
  }
});

after(async () => {
  await Promise.all(started.map((one) => one.gateway.stop().then(one.remove)));
  await Promise.all(engines.map((engine) => engine.stop()));
  await db.end();
  await postgres.stop();
});

function urls(): [string, string, string] {
  return engines.map(({ url }) => url) as [string, string, string];
}

/** Over a connection of its own: one that was kept is tried anew at the same replica, and this is not about that. */
const answer: EngineBehaviour = (request, res) => {
  res.shouldKeepAlive = false;
  return answering(['Hello', ', ', 'you'])(request, res);
};

const asked = () => engines.flatMap(({ url, requests }) => requests.map(() => url));

/** The first attempt of each request fails so, on whichever replica; later ones are answered. */
function failingFirst(fail: (res: ServerResponse) => void): void {
  const seen = new Set<unknown>();
  const behaviour: EngineBehaviour = async (request, res) => {
    const id = request.headers['x-request-id'];
    if (seen.has(id)) {
      await sleep(HELD_MS);
      await answer(request, res);
      return;
    }
    seen.add(id);
    res.shouldKeepAlive = false;
    await sleep(HELD_MS);
    fail(res);
  };
  for (const engine of engines) engine.behave(behaviour);
}

/** Every attempt fails so. */
function failing(fail: (res: ServerResponse) => void): void {
  for (const engine of engines) {
    engine.behave((_request, res) => {
      res.shouldKeepAlive = false;
      fail(res);
    });
  }
}

const post = (body: object, of = gateway, signal?: AbortSignal) =>
  fetch(`${of.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({
      model: 'pair',
      messages: [{ role: 'user', content: 'Hello' }],
      user: 'ann',
      ...body,
    }),
    ...(signal === undefined ? {} : { signal }),
  });

/** What a client made of an answer: the text, or the status of an error; null text: the transfer broke off. */
async function outcome(response: Response): Promise<{ id: string; status: number; text: string | null }> {
  const id = response.headers.get('x-request-id') ?? '';
  const body = await response.text().catch(() => null);
  if (body === null || response.status !== 200) return { id, status: response.status, text: null };
  if (!response.headers.get('content-type')?.startsWith('text/event-stream')) {
    const { choices } = JSON.parse(body) as { choices: { message: { content: string } }[] };
    return { id, status: 200, text: choices[0]?.message.content ?? '' };
  }
  assert.match(body, /data: \[DONE\]\n\n$/);
  const deltas = [...body.matchAll(/^data: (\{.*)$/gm)].map(
    ([, data]) => JSON.parse(data ?? '') as { choices: { delta: { content?: string } }[] },
  );
  return { id, status: 200, text: deltas.map(({ choices }) => choices[0]?.delta.content ?? '').join('') };
}

interface Row {
  status: number;
  reason: string | null;
  failed: boolean;
  interrupted: boolean;
  latency: number;
  endpoint: string;
  completion_tokens: number | null;
  ttft: number | null;
}

/** The one record of a request (invariant 10). */
async function recordOf(id: string): Promise<Row> {
  const rows = await until(
    async () => (await db.query<Row>('select * from samples where id = $1', [id])).rows,
    (found) => found.length > 0,
    `the record of ${id}`,
  );
  assert.equal(rows.length, 1);
  return rows[0] as Row;
}

async function retried(reason: string, of = gateway): Promise<number> {
  const text = await (await fetch(of.metricsUrl)).text();
  return text
    .split('\n')
    .filter((line) => line.startsWith('llm_upstream_retries_total{') && line.includes(`reason="${reason}"`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}

const head = (res: ServerResponse) => res.writeHead(200, { 'content-type': 'text/event-stream' });
const destroy = (res: ServerResponse) => void res.destroy();
const status = (code: number) => (res: ServerResponse) => {
  res.writeHead(code, { 'content-type': 'application/json' });
  res.end(JSON.stringify({ error: { message: 'no', code } }));
};

const both: [name: string, reason: string, fail: (res: ServerResponse) => void][] = [
  ['closes the connection before the head', 'cut', destroy],
  ['answers that it is starting', 'busy', status(503)],
  ['answers that it has too much to do', 'busy', status(429)],
  ['answers that its engine is dead', 'error', status(500)],
];
const whole: typeof both = [
  [
    'cuts its answer midway',
    'cut',
    (res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
      res.write(JSON.stringify(completionOf('Hel')), () => res.destroy());
    },
  ],
  [
    'cuts its answer midway, in chunks',
    'cut',
    (res) => {
      res.writeHead(200, { 'content-type': 'application/json' });
      res.write(JSON.stringify(completionOf('Hel')), () => res.destroy());
    },
  ],
];
const streamed: typeof both = [
  [
    'cuts the stream after its head',
    'cut',
    (res) => {
      head(res).flushHeaders();
      setImmediate(() => res.destroy());
    },
  ],
  [
    'cuts the stream after a comment',
    'cut',
    (res) => void head(res).write(': wait\n\n', () => res.destroy()),
  ],
  [
    'cuts the stream in the midst of its first event',
    'cut',
    (res) => void head(res).write('data: {"choices":[{"del', () => res.destroy()),
  ],
  ['ends the stream before its first event', 'cut', (res) => void head(res).end()],
  [
    'begins the stream with an error',
    'error',
    (res) => void head(res).end(`${sse({ error: { message: 'dead', code: 500 } })}data: [DONE]\n\n`),
  ],
  [
    'puts an error behind the first words, in one piece',
    'error',
    (res) => void head(res).end(sse(chunk({ content: 'Hel' })) + sse({ error: { message: 'dead' } })),
  ],
];

describe('a replica that fails before the client has a byte', () => {
  for (const stream of [false, true]) {
    for (const [name, reason, fail] of [...both, ...(stream ? streamed : whole)]) {
      it(`and ${name} is replaced by another, ${stream ? 'for a stream' : 'for a whole answer'}`, async () => {
        failingFirst(fail);
        const before = await retried(reason);
        const { id, text } = await outcome(await post({ stream }));
        assert.equal(text, 'Hello, you');
        assert.deepEqual(asked().sort(), urls().slice(0, 2).sort());
        assert.equal(await retried(reason), before + 1);
        const record = await recordOf(id);
        assert.deepEqual(
          [record.status, record.reason, record.failed, record.interrupted, record.completion_tokens],
          [200, null, false, false, 4],
        );
        // All of the time, and of the tokens those that the client got.
        assert.ok(record.latency >= HELD_TWICE_S, `${record.latency}`);
        if (stream) assert.ok((record.ttft ?? 0) >= HELD_TWICE_S, `${record.ttft}`);
        const second = engines.find(({ url }) => url === record.endpoint);
        assert.equal(second?.requests.length, 1);
      });
    }
  }

  it('is replaced twice if it was never reached', async () => {
    const before = await retried('refused');
    for (let i = 0; i < 4; i++) {
      const { text } = await outcome(await post({ model: 'mostly-dead', stream: i % 2 === 0 }));
      assert.equal(text, 'Hello, you');
    }
    // The third replica comes only after both others were tried, or while they are set aside.
    assert.ok((await retried('refused')) >= before + 2);
  });

  it('is asked again over a new connection when it had closed those that were kept', async () => {
    const kept = new Set<object | null>();
    const both = Promise.withResolvers<void>();
    engines[0]?.behave(async (request, res) => {
      if (kept.has(res.socket)) {
        res.socket?.resetAndDestroy();
        return;
      }
      kept.add(res.socket);
      if (kept.size === 2) both.resolve();
      await both.promise;
      await answering(['Hello', ', ', 'you'])(request, res);
    });
    const ask = async () => (await outcome(await post({ model: 'single' }))).text;
    assert.deepEqual(await Promise.all([ask(), ask()]), ['Hello, you', 'Hello, you']);
    assert.equal(await ask(), 'Hello, you');
    assert.equal(asked().length, 4);
  });

  it('is replaced by one that the cluster shows now, not by one of when the request came', async () => {
    const [a, b, c] = urls();
    let now = [a, b];
    const cluster: EndpointSource = {
      endpointsOf: () => now,
      healthy: true,
      start: async () => {},
      stop: async () => {},
    };
    const following = await start({ cluster });
    failing((res) => {
      now = [c];
      engines[2]?.behave(answering(['from c']));
      res.destroy();
    });
    assert.equal((await outcome(await post({}, following))).text, 'from c');
    assert.equal(asked().length, 2);
    assert.ok(asked().includes(c));
  });
});

describe('a request is not sent again', () => {
  const cases: [name: string, stream: boolean, reason: string, fail: (res: ServerResponse) => void][] = [
    ['that the engine refuses', false, 'upstream_rejected', status(400)],
    ['for which the engine has no model', false, 'upstream_error', status(404)],
    ['that was answered with nonsense', false, 'upstream_invalid', (res) => void res.end('nonsense')],
    [
      'that the engine refuses in a stream',
      true,
      'upstream_error',
      (res) => void head(res).end(sse({ error: { message: 'too long', code: 400 } })),
    ],
  ];
  for (const [name, stream, reason, fail] of cases) {
    it(name, async () => {
      failing(fail);
      const { id, text } = await outcome(await post({ stream }));
      assert.equal(text, null);
      assert.equal(asked().length, 1);
      assert.equal((await recordOf(id)).reason, reason);
    });
  }

  it('that was silent for its whole time', async () => {
    const hasty = await start({ limits: { silenceTimeout: 500 } });
    failing(() => {});
    const { id, text } = await outcome(await post({}, hasty));
    assert.equal(text, null);
    assert.equal(asked().length, 1);
    assert.equal((await recordOf(id)).reason, 'upstream_timeout');
  });

  it('once the client has the first event of a stream, which ends marked as interrupted', async () => {
    failingFirst(
      (res) => void head(res).write(sse(chunk({ content: 'Hel' })), () => setImmediate(() => res.destroy())),
    );
    const response = await post({ stream: true });
    assert.equal(response.status, 200);
    const { id, text } = await outcome(response);
    assert.equal(text, null);
    assert.equal(asked().length, 1);
    const record = await recordOf(id);
    assert.deepEqual([record.interrupted, record.failed, record.reason], [true, true, 'upstream_cut']);
  });

  it('to a third replica when two broke over it', async () => {
    for (const stream of [false, true]) {
      beforeEachEngine();
      failing(destroy);
      const { id, status: code } = await outcome(await post({ model: 'three', stream }));
      assert.equal(code, 502);
      assert.equal(asked().length, 2);
      assert.equal(new Set(asked()).size, 2);
      assert.equal((await recordOf(id)).reason, 'upstream_cut');
    }
  });

  it('when all are too busy, and the last word is what the client gets', async () => {
    failing((res) => {
      res.writeHead(429, { 'content-type': 'application/json', 'retry-after': '7' });
      res.end(JSON.stringify({ error: { message: 'busy' } }));
    });
    const response = await post({ model: 'three' });
    assert.deepEqual([response.status, response.headers.get('retry-after')], [429, '7']);
    assert.equal(asked().length, 2);
  });

  it('when its time is over', async () => {
    const hasty = await start({ limits: { retryWithin: HELD_MS / 2 } });
    failingFirst(destroy);
    assert.equal((await outcome(await post({}, hasty))).status, 502);
    assert.equal(asked().length, 1);
  });

  it('when its replicas were withdrawn meanwhile (invariants 2 and 5)', async () => {
    const held = Promise.withResolvers<void>();
    for (const engine of engines) {
      engine.behave(async (_request, res) => {
        await held.promise;
        res.destroy();
      });
    }
    const response = post({});
    await until(asked, (list) => list.length === 1, 'the first attempt');
    await publishEndpoints(db, pair.serving, []);
    const generation = await readGeneration(db);
    await until(
      () => acknowledgementOf(db, generation),
      ({ live, lagging }) => live > 0 && lagging.length === 0,
      'the acknowledgement',
    );
    held.resolve();
    assert.equal((await outcome(await response)).status, 502);
    assert.equal(asked().length, 1);
    await publishEndpoints(db, pair.serving, urls().slice(0, 2));
    await until(
      async () => (await outcome(await post({}))).status,
      (code) => code !== 503,
      'the replicas that are back',
    );
  });

  it('when its client has left', async () => {
    const leaving = new AbortController();
    const second = Promise.withResolvers<EngineRequest>();
    const seen = new Set<unknown>();
    for (const engine of engines) {
      engine.behave((request, res) => {
        const id = request.headers['x-request-id'];
        if (seen.has(id)) second.resolve(request);
        else res.destroy();
        seen.add(id);
      });
    }
    post({ model: 'three' }, gateway, leaving.signal).catch(() => {});
    const { closed } = await second.promise;
    let stopped = false;
    void closed.then(() => {
      stopped = true;
    });
    leaving.abort();
    await until(
      () => stopped,
      (yes) => yes,
      'the end of the work of the engine that now has it',
    );
    const record = await recordOf(String([...seen][0]));
    assert.deepEqual([record.status, record.reason], [499, 'client_closed']);
    assert.equal(asked().length, 2);
  });

  function beforeEachEngine(): void {
    for (const engine of engines) engine.requests.length = 0;
  }
});

describe('with a cluster', () => {
  it('requests go where the cluster says, and by the table where it says nothing', async () => {
    const [a, b, c] = urls();
    const known = new Map([[pair.serving, [c]]]);
    let healthy = true;
    const calls: string[] = [];
    const following = await start({
      cluster: {
        endpointsOf: (serving) => known.get(serving) ?? null,
        get healthy() {
          return healthy;
        },
        start: async () => void calls.push('start'),
        stop: async () => void calls.push('stop'),
      },
    });
    assert.deepEqual(calls, ['start']);
    await post({}, following);
    assert.deepEqual(asked(), [c]);
    known.set(pair.serving, []);
    assert.equal((await outcome(await post({}, following))).status, 503);
    known.delete(pair.serving);
    await post({}, following);
    assert.ok([a, b].includes(asked().find((url) => url !== c) ?? ''));
    const followed = async () =>
      /^slipway_gateway_cluster_followed (\d)$/m.exec(await (await fetch(following.metricsUrl)).text())?.[1];
    assert.equal(await followed(), '1');
    healthy = false;
    assert.equal(await followed(), '0');
    assert.doesNotMatch(await (await fetch(gateway.metricsUrl)).text(), /cluster_followed/);
  });

  it('the engines get the key that they ask for, and never the key of the tenant', async () => {
    const keyed = await start({ vllmApiKey: 'the-engines-key' });
    await post({}, keyed);
    await post({ stream: true });
    const sent = engines.flatMap(({ requests }) => requests.map(({ headers }) => headers.authorization));
    assert.deepEqual(sent.sort(), ['Bearer the-engines-key', undefined]);
  });
});

describe('load', () => {
  it('goes to the replicas with the fewest requests outstanding', async () => {
    const held = Promise.withResolvers<void>();
    const [slow] = engines as [FakeEngine];
    slow.behave(async (request, res) => {
      await held.promise;
      await answer(request, res);
    });
    const fresh = await start();
    const responses: Promise<Response>[] = [];
    let slowBefore = 0;
    for (let i = 1; i <= 12; i++) {
      const response = post({ model: 'three' }, fresh);
      responses.push(response);
      await until(asked, (list) => list.length === i, 'the request at an engine');
      // The one at the slow engine stays there; any other ends before the next begins.
      const atSlow = slow.requests.length;
      if (atSlow === slowBefore) await response.then((answered) => answered.clone().text());
      slowBefore = atSlow;
    }
    assert.equal(slow.requests.length, 1);
    held.resolve();
    for (const response of await Promise.all(responses)) assert.equal(response.status, 200);
  });

  it('is spread evenly', async () => {
    const held = Promise.withResolvers<void>();
    for (const engine of engines) {
      engine.behave(async (request, res) => {
        await held.promise;
        await answer(request, res);
      });
    }
    const fresh = await start();
    const responses = Array.from({ length: 12 }, () => post({ model: 'three' }, fresh));
    await until(asked, (list) => list.length === 12, 'all requests at the engines');
    assert.deepEqual(
      engines.map(({ requests }) => requests.length),
      [4, 4, 4],
    );
    held.resolve();
    for (const response of await Promise.all(responses)) assert.equal(response.status, 200);
  });
});
