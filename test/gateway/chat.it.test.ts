import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import { after, before, beforeEach, describe, it } from 'node:test';
import OpenAI from 'openai';
import { freePort } from '../../deploy/local/ports.ts';
import type { Gateway } from '../../gateway/gateway.ts';
import { newRequestId } from '../../gateway/request-id.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';
import {
  answering,
  chunk,
  completionOf,
  type EngineRequest,
  type FakeEngine,
  sse,
  startFakeEngine,
  streamOf,
} from './fake-engine.ts';
import { setRoute, startTestGateway, storeRevision, temporaryState, tenantKey, until } from './support.ts';

let postgres: TestPostgres;
let db: Database;
let engine: FakeEngine;
let gateway: Gateway;
let key: string;
let client: OpenAI;
const state = temporaryState();
const words = ['Hello', ', ', 'you'];

before(async () => {
  postgres = await startPostgres();
  db = openDatabase(postgres.url);
  engine = await startFakeEngine();
  const plain = await storeRevision(db, { name: 'plain', endpoints: [engine.url] });
  await setRoute(db, { application: 'support', stable: plain.digest, scoredShare: 1 });
  const rich = await storeRevision(db, {
    name: 'rich',
    endpoints: [engine.url],
    prompt: {
      system: 'You help in {{language}}.',
      template: 'Q: {{input}}',
      variables: [{ name: 'language' }],
      examples: [{ input: 'Hi', output: 'Ho' }],
      outputSchema: { type: 'object' },
    },
  });
  await setRoute(db, { application: 'rich', stable: rich.digest });
  const refusing = await storeRevision(db, {
    name: 'half-dead',
    endpoints: [`http://127.0.0.1:${await freePort()}`, engine.url],
  });
  await setRoute(db, { application: 'half-dead', stable: refusing.digest });
  const dead = await storeRevision(db, { name: 'dead', endpoints: [`http://127.0.0.1:${await freePort()}`] });
  await setRoute(db, { application: 'dead', stable: dead.digest });
  const nowhere = await storeRevision(db, { name: 'nowhere', endpoints: [] });
  await setRoute(db, { application: 'nowhere', stable: nowhere.digest });
  key = await tenantKey(db, 'shop');
  gateway = await startTestGateway({
    databaseUrl: postgres.url,
    stateFolder: state.path,
  });
  client = new OpenAI({ apiKey: key, baseURL: `${gateway.url}/v1`, maxRetries: 0 });
});

beforeEach(() => engine.behave(answering(words)));

after(async () => {
  await gateway.stop();
  await engine.stop();
  await db.end();
  await postgres.stop();
  state.remove();
});

interface SampleRow {
  status: number;
  reason: string | null;
  failed: boolean;
  interrupted: boolean;
  [column: string]: unknown;
}

async function sampleOf(request: string | null | undefined): Promise<SampleRow> {
  const row = await until(
    async () => (await db.query<SampleRow>('select * from samples where id = $1', [request])).rows[0] ?? null,
    (found) => found !== null,
    `the sample of ${request}`,
  );
  assert.ok(row !== null);
  return row;
}

const ask = (more: object = {}) => ({
  model: 'support',
  messages: [{ role: 'user', content: 'Where is it?' }],
  ...more,
});

const post = (
  body: unknown,
  path = '/v1/chat/completions',
  headers: Record<string, string> = {},
  { url } = gateway,
) =>
  fetch(`${url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}`, ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

/** Status, error code and param of an answer, and its x-request-id. */
async function errorOf(
  response: Response,
): Promise<{ status: number; code: string; param: string | null; id: string }> {
  const body = (await response.json()) as {
    error: { message: string; type: string; param: string | null; code: string };
  };
  assert.deepEqual(Object.keys(body), ['error']);
  assert.deepEqual(Object.keys(body.error).sort(), ['code', 'message', 'param', 'type']);
  const id = response.headers.get('x-request-id') ?? '';
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
  return { status: response.status, code: body.error.code, param: body.error.param, id };
}

describe('an answer', () => {
  it("is given by the revision's prompt, parameters and model", async () => {
    const answer = await client.chat.completions.create({
      model: 'support',
      messages: [{ role: 'user', content: 'Where is my parcel?' }],
      temperature: 1.5,
      max_tokens: 9,
      user: 'ann',
    });
    assert.equal(answer.choices[0]?.message.content, 'Hello, you');
    assert.equal(answer.model, 'support');
    assert.equal(answer.id, `chatcmpl-${answer._request_id}`);
    const asked = engine.requests.at(-1);
    assert.deepEqual(asked?.body, {
      temperature: 0,
      max_tokens: 50,
      model: 'engine-model',
      messages: [
        { role: 'system', content: 'You help.' },
        { role: 'user', content: 'Where is my parcel?' },
      ],
      stream: false,
    });
    assert.equal(asked?.headers['x-request-id'], answer._request_id);
    const sample = await sampleOf(answer._request_id);
    assert.equal(sample.tenant, 'shop');
    assert.equal(sample.arm, 'stable');
    assert.equal(sample.status, 200);
    assert.equal(sample.failed, false);
    assert.equal(sample.streamed, false);
    assert.equal(sample.finish_reason, 'stop');
    assert.equal(sample.cost, (12 * 1 + 4 * 2) / 1e6);
    assert.equal(sample.ttft, null);
  });

  it('may be streamed; the usage comes only if it was asked for, and is always recorded', async () => {
    for (const asked of [false, true]) {
      const { data: stream, request_id: id } = await client.chat.completions
        .create({
          model: 'support',
          messages: [{ role: 'user', content: 'Hello' }],
          stream: true,
          ...(asked ? { stream_options: { include_usage: true } } : {}),
          safety_identifier: 'ann',
        })
        .withResponse();
      let text = '';
      let usages = 0;
      for await (const part of stream) {
        assert.equal(part.model, 'support');
        assert.equal(part.id, `chatcmpl-${id}`);
        text += part.choices[0]?.delta.content ?? '';
        usages += part.usage ? 1 : 0;
      }
      assert.equal(text, 'Hello, you');
      assert.equal(usages, asked ? 1 : 0);
      assert.deepEqual(engine.requests.at(-1)?.body.stream_options, { include_usage: true });
      const sample = await sampleOf(id);
      assert.equal(sample.prompt_tokens, 12);
      assert.equal(sample.completion_tokens, 4);
      assert.equal(typeof sample.ttft, 'number');
      assert.equal(typeof sample.tpot, 'number');
      assert.equal(sample.arm, 'stable');
    }
  });

  it('is rendered from the variables of the request', async () => {
    const response = await post(ask({ model: 'rich', variables: { language: 'Dutch' } }));
    assert.equal(response.status, 200);
    const asked = engine.requests.at(-1)?.body;
    assert.deepEqual(asked?.messages, [
      { role: 'system', content: 'You help in Dutch.' },
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: 'Ho' },
      { role: 'user', content: 'Q: Where is it?' },
    ]);
    assert.deepEqual(asked?.response_format, {
      type: 'json_schema',
      json_schema: { name: 'answer', schema: { type: 'object' }, strict: true },
    });
  });

  it('may call the tools of the request', async () => {
    const tools = [{ type: 'function', function: { name: 'find', parameters: { type: 'object' } } }];
    await post(ask({ tools, tool_choice: 'auto', response_format: { type: 'json_object' }, seed: 7 }));
    const asked = engine.requests.at(-1)?.body;
    assert.deepEqual(asked?.tools, tools);
    assert.equal(asked?.tool_choice, 'auto');
    assert.deepEqual(asked?.response_format, { type: 'json_object' });
    assert.equal('seed' in (asked ?? {}), false);
  });

  it('comes whole however its bytes are split', async () => {
    const text = ['grüße ', '🧭', ' 你好', ' é'];
    const bytes = Buffer.from(streamOf(text));
    engine.behave(async (_request, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const byte of bytes) {
        res.write(Buffer.of(byte));
        // Every byte in a read of its own around the characters of several bytes.
        if (byte > 0x7f) await new Promise(setImmediate);
      }
      res.end();
    });
    const stream = await client.chat.completions.create({
      model: 'support',
      messages: [{ role: 'user', content: 'Hello' }],
      stream: true,
    });
    let got = '';
    for await (const part of stream) got += part.choices[0]?.delta.content ?? '';
    assert.equal(got, text.join(''));
  });

  it('goes to the evaluator with what the user wrote, and with no arm', async () => {
    const response = await post(ask({ stream: true, messages: [{ role: 'user', content: 'Where\0?' }] }));
    await response.text();
    const id = response.headers.get('x-request-id');
    await sampleOf(id);
    const { rows } = await db.query(
      'select application, input, output from scoring_queue where request_id = $1',
      [id],
    );
    assert.deepEqual(rows, [{ application: 'support', input: 'Where?', output: 'Hello, you' }]);
  });

  it('without a user is served and kept out of the gate, visibly (invariant 12)', async () => {
    const before = await metric('llm_requests_without_user_total{application="support"}');
    const { headers } = await post(ask());
    const sample = await sampleOf(headers.get('x-request-id'));
    assert.equal(sample.arm, null);
    assert.equal(sample.user_id, null);
    assert.equal(await metric('llm_requests_without_user_total{application="support"}'), before + 1);
    const named = await post(ask(), undefined, { 'x-slipway-user': 'ann' });
    assert.equal((await sampleOf(named.headers.get('x-request-id'))).arm, 'stable');
  });
});

async function metric(series: string): Promise<number> {
  const text = await (await fetch(gateway.metricsUrl)).text();
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}

describe('an application', () => {
  it('is listed as a model', async () => {
    const models = await client.models.list();
    assert.deepEqual(
      models.data.map((model) => model.id),
      ['dead', 'half-dead', 'nowhere', 'rich', 'support'],
    );
    assert.equal((await client.models.retrieve('support')).id, 'support');
  });
});

describe('a wrong request', () => {
  it('is refused with a code, the field and what to do, in the shape of OpenAI', async () => {
    const cases: [body: unknown, status: number, code: string, param: string | null][] = [
      ['{', 400, 'REQUEST_INVALID', 'body'],
      [[], 400, 'REQUEST_INVALID', 'body'],
      [ask({ model: '' }), 400, 'REQUEST_INVALID', 'model'],
      [ask({ model: 'constructor' }), 404, 'MODEL_NOT_FOUND', 'model'],
      [ask({ messages: [] }), 400, 'REQUEST_INVALID', 'messages'],
      [ask({ messages: [{ role: 'user', content: 7 }] }), 400, 'REQUEST_INVALID', 'messages[0].content'],
      [ask({ messages: [{ role: 'system', content: 'Obey' }] }), 400, 'REQUEST_INVALID', 'messages[0].role'],
      [ask({ n: 2 }), 400, 'REQUEST_INVALID', 'n'],
      [ask({ user: 7 }), 400, 'REQUEST_INVALID', 'user'],
      [ask({ variables: { language: 1 } }), 400, 'REQUEST_INVALID', 'variables.language'],
      [ask({ variables: { language: 'x' } }), 422, 'PROMPT_VARIABLE_UNKNOWN', 'variables.language'],
      [ask({ model: 'rich' }), 422, 'PROMPT_VARIABLE_MISSING', 'variables.language'],
    ];
    const seen = engine.requests.length;
    for (const [body, status, code, param] of cases) {
      const error = await errorOf(await post(body));
      assert.deepEqual(
        { status: error.status, code: error.code, param: error.param },
        { status, code, param },
      );
    }
    assert.equal(engine.requests.length, seen);
  });

  it("counts for its arm when the arm's prompt is what it does not fit", async () => {
    const { id } = await errorOf(await post(ask({ model: 'rich', user: 'ann' })));
    const sample = await sampleOf(id);
    assert.deepEqual(
      { status: sample.status, reason: sample.reason, failed: sample.failed, arm: sample.arm },
      { status: 422, reason: 'variables', failed: true, arm: 'stable' },
    );
  });

  it('without a valid key is refused, and a revoked key soon', async () => {
    for (const authorization of ['', 'Bearer', 'Bearer wrong', `Basic ${key}`]) {
      const error = await errorOf(await post(ask(), undefined, { authorization }));
      assert.deepEqual([error.status, error.code], [401, 'UNAUTHENTICATED']);
    }
    const stranger = new OpenAI({ apiKey: 'sk-wrong', baseURL: `${gateway.url}/v1`, maxRetries: 0 });
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
    const fresh = await tenantKey(db, 'new-shop');
    const known = () => post(ask(), undefined, { authorization: `Bearer ${fresh}` }).then((r) => r.status);
    await until(known, (status) => status === 200, 'the new key');
    await db.query(`update tenant_keys set revoked_at = now() where tenant = 'new-shop'`);
    await until(known, (status) => status === 401, 'the revoked key');
  });

  it('without a valid key, or to a path that is not there, is refused before its body is read', async () => {
    const paths = ['/v1/chat/completions', '/v1/feedback', '/v1/scores', '/v1/completions'];
    const statuses = paths.map(async (path) => {
      const request = http.request(`${gateway.url}${path}`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'content-length': 1_000,
          authorization: 'Bearer wrong',
        },
      });
      request.flushHeaders();
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      request.on('error', () => {}).destroy();
      return response.statusCode;
    });
    assert.deepEqual(await Promise.all(statuses), [401, 401, 401, 404]);
  });

  it('to a path that is not there says which ones are; metrics are not for callers', async () => {
    const error = await errorOf(await post({}, '/v1/completions'));
    assert.deepEqual([error.status, error.code], [404, 'NOT_FOUND']);
    assert.equal((await fetch(`${gateway.url}/metrics`)).status, 404);
    assert.equal((await fetch(gateway.metricsUrl)).status, 200);
  });
});

describe('an endpoint', () => {
  it('that refuses the connection is passed over', async () => {
    for (let i = 0; i < 6; i++) assert.equal((await post(ask({ model: 'half-dead' }))).status, 200);
  });

  it('that closed a kept connection before it read the request is asked again on a new one', async () => {
    const seen = new WeakSet();
    engine.behave((request, res) => {
      const { socket } = res;
      if (socket === null || seen.has(socket)) {
        socket?.resetAndDestroy();
        return;
      }
      seen.add(socket);
      answering(words)(request, res);
    });
    for (let i = 0; i < 4; i++) assert.equal((await post(ask())).status, 200);
  });

  it('that is alone and refuses, or is not there at all, fails the request for its arm', async () => {
    const refused = await errorOf(await post(ask({ model: 'dead', user: 'ann' })));
    assert.deepEqual([refused.status, refused.code], [502, 'UPSTREAM_FAILED']);
    const sample = await sampleOf(refused.id);
    assert.deepEqual([sample.reason, sample.failed, sample.arm], ['upstream_refused', true, 'stable']);
    const nowhere = await errorOf(await post(ask({ model: 'nowhere' })));
    assert.deepEqual([nowhere.status, nowhere.code], [503, 'NO_ROUTE']);
    assert.equal((await sampleOf(nowhere.id)).reason, 'no_endpoint');
  });

  it('that falls silent is given up, before its answer and in the middle of it', async (t) => {
    // A gateway of its own: to one that is so impatient, a machine that halts for a moment is a silent endpoint.
    const own = temporaryState();
    const hasty = await startTestGateway({
      databaseUrl: postgres.url,
      stateFolder: own.path,
      limits: { silenceTimeout: 2_000 },
    });
    t.after(() => hasty.stop().then(own.remove));
    engine.behave(() => {});
    for (const stream of [false, true]) {
      const error = await errorOf(await post(ask({ stream }), undefined, {}, hasty));
      assert.deepEqual([error.status, error.code], [504, 'UPSTREAM_TIMEOUT']);
      assert.equal((await sampleOf(error.id)).reason, 'upstream_timeout');
    }
    engine.behave((_request, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(sse(chunk({ content: 'Hel' })));
    });
    const { id, failure } = await readStream(
      new OpenAI({ apiKey: key, baseURL: `${hasty.url}/v1`, maxRetries: 0 }),
    );
    assert.notEqual(failure, null);
    const sample = await sampleOf(id);
    assert.deepEqual([sample.reason, sample.interrupted], ['upstream_timeout', true]);
    await engine.requests.at(-1)?.closed;
  });

  it('whose error is about the request has the last word, in the shape of OpenAI', async () => {
    engine.behave((_request, res) => {
      res.writeHead(400, { 'content-type': 'application/json' });
      res.end(
        JSON.stringify({
          error: {
            message: "This model's maximum context length is 8192 tokens.",
            type: 'BadRequestError',
            param: 'messages',
            code: 400,
          },
        }),
      );
    });
    const response = await post(ask({ user: 'ann' }));
    const body = (await response.clone().json()) as { error: { message: string } };
    assert.match(body.error.message, /maximum context length/);
    const error = await errorOf(response);
    assert.deepEqual([error.status, error.param], [400, 'messages']);
    const sample = await sampleOf(error.id);
    assert.deepEqual([sample.reason, sample.failed], ['upstream_rejected', true]);
  });

  it('that is too busy is believed, with the time after which to try again', async () => {
    engine.behave((_request, res) => {
      res.writeHead(429, { 'content-type': 'application/json', 'retry-after': '7' });
      res.end(JSON.stringify({ object: 'error', message: 'busy', type: 'x', code: 429 }));
    });
    await assert.rejects(
      client.chat.completions.create({ model: 'support', messages: [{ role: 'user', content: 'Hello' }] }),
      (error: unknown) => error instanceof OpenAI.RateLimitError && error.headers.get('retry-after') === '7',
    );
  });

  it('that fails, or answers nonsense, is a failure without its text', async () => {
    const answers: [status: number, body: string, reason: string][] = [
      [500, '{"error":{"message":"secret stack"}}', 'upstream_error'],
      [404, '{"error":{"message":"The model engine-model does not exist"}}', 'upstream_error'],
      [200, '<html>secret stack</html>', 'upstream_invalid'],
      [200, '{"choices":[]}', 'upstream_invalid'],
    ];
    for (const [status, body, reason] of answers) {
      engine.behave((_request, res) => {
        res.writeHead(status, { 'content-type': 'application/json' });
        res.end(body);
      });
      const response = await post(ask());
      assert.doesNotMatch(await response.clone().text(), /secret|engine-model/);
      const error = await errorOf(response);
      assert.deepEqual([error.status, error.code], [502, 'UPSTREAM_FAILED']);
      assert.equal((await sampleOf(error.id)).reason, reason);
    }
  });

  it('whose stream begins with an error gives an error and no stream', async () => {
    engine.behave((_request, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.end(`${sse({ error: { message: 'out of memory', code: 500 } })}data: [DONE]\n\n`);
    });
    const error = await errorOf(await post(ask({ stream: true })));
    assert.deepEqual([error.status, error.code], [502, 'UPSTREAM_FAILED']);
  });
});

/** Reads a stream to its end with the official client. */
async function readStream(from = client): Promise<{ text: string; id: string | null; failure: unknown }> {
  const { data, request_id: id } = await from.chat.completions
    .create({ model: 'support', messages: [{ role: 'user', content: 'Hello' }], stream: true, user: 'ann' })
    .withResponse();
  let text = '';
  try {
    for await (const part of data) text += part.choices[0]?.delta.content ?? '';
    return { text, id, failure: null };
  } catch (failure) {
    return { text, id, failure };
  }
}

describe('a stream that the endpoint cuts', () => {
  const cuts: [name: string, cut: (res: import('node:http').ServerResponse) => void][] = [
    ['by closing the connection', (res) => res.destroy()],
    ['by ending it without [DONE]', (res) => res.end()],
    ['in the middle of an event', (res) => res.end('data: {"choices":[{"del')],
    ['with an error', (res) => res.end(`${sse({ error: { message: 'no', code: 500 } })}data: [DONE]\n\n`)],
    ['with nonsense', (res) => res.end('data: nonsense\n\ndata: [DONE]\n\n')],
  ];
  for (const [name, cut] of cuts) {
    it(`${name} does not end well for the client`, async () => {
      engine.behave((_request, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write(sse(chunk({ content: 'Hel' })), () => setImmediate(() => cut(res)));
      });
      const { text, id, failure } = await readStream();
      assert.equal(text, 'Hel');
      assert.notEqual(failure, null);
      const sample = await sampleOf(id);
      assert.deepEqual([sample.interrupted, sample.failed], [true, true]);
      assert.match(String(sample.reason), /^upstream_(cut|error|invalid)$/);
    });

    it(`${name} is no clean end of the transfer either`, async () => {
      engine.behave((_request, res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.write(sse(chunk({ content: 'Hel' })), () => setImmediate(() => cut(res)));
      });
      const response = await post(ask({ stream: true }));
      let body = '';
      const decoder = new TextDecoder();
      await assert.rejects(async () => {
        for await (const part of response.body ?? [])
          body += decoder.decode(part as Uint8Array, { stream: true });
      });
      assert.match(body, /data: \{"error":/);
      assert.doesNotMatch(body, /\[DONE\]/);
    });
  }

  it('as a whole answer is an error', async () => {
    engine.behave((_request, res) => {
      res.writeHead(200, { 'content-type': 'application/json', 'content-length': 1000 });
      res.write(JSON.stringify(completionOf('Hello')), () => res.destroy());
    });
    const error = await errorOf(await post(ask()));
    assert.deepEqual([error.status, error.code], [502, 'UPSTREAM_FAILED']);
    assert.equal((await sampleOf(error.id)).reason, 'upstream_cut');
  });
});

describe('a client that leaves', () => {
  it('before an answer that is not streamed stops the engine', async () => {
    const asked = Promise.withResolvers<EngineRequest>();
    engine.behave((request) => asked.resolve(request));
    const leaving = new AbortController();
    const response = post2(ask({ user: 'leaver-1' }), leaving.signal);
    response.catch(() => {});
    const { closed } = await asked.promise;
    leaving.abort();
    await closed;
    const { rows } = await until(
      () =>
        db.query<SampleRow>(
          `select s.* from samples s join ledger_users u on u.id = user_id where s.status = 499 order by at desc limit 1`,
        ),
      (found) => found.rows.length === 1,
      'the sample of the client that left',
    );
    assert.deepEqual([rows[0]?.reason, rows[0]?.interrupted, rows[0]?.failed], ['client_closed', true, true]);
  });

  it('in the middle of a stream stops the engine, and is no failure of the arm', async () => {
    const asked = Promise.withResolvers<EngineRequest>();
    engine.behave((request, res) => {
      asked.resolve(request);
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.write(sse(chunk({ content: 'Hel' })));
    });
    const leaving = new AbortController();
    const response = await post2(ask({ stream: true, user: 'leaver-2' }), leaving.signal);
    const id = response.headers.get('x-request-id');
    const reader = response.body?.getReader();
    await reader?.read();
    leaving.abort();
    await (await asked.promise).closed;
    const sample = await sampleOf(id);
    assert.deepEqual([sample.reason, sample.interrupted, sample.failed], ['client_closed', true, false]);
  });

  const post2 = (body: unknown, signal: AbortSignal) =>
    fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify(body),
      signal,
    });
});

describe('feedback', () => {
  it('attaches to the answer that it names, once, for its tenant only', async () => {
    const answer = await client.chat.completions.create({
      model: 'support',
      messages: [{ role: 'user', content: 'Hello' }],
      user: 'ann',
    });
    const rival = await tenantKey(db, 'rival');
    const authorization = `Bearer ${rival}`;
    const stolen = await post({ request_id: answer.id, thumb: 'down' }, '/v1/feedback', { authorization });
    assert.equal(stolen.status, 202);
    const first = await post({ request_id: answer.id, thumb: 'up', comment: 'thanks' }, '/v1/feedback');
    assert.deepEqual(await first.json(), { request_id: answer._request_id, status: 'accepted' });
    const second = await post({ request_id: answer._request_id, score: 0 }, '/v1/feedback');
    assert.equal(((await second.json()) as { status: string }).status, 'known');
    await sampleOf(answer._request_id);
    const { rows } = await db.query(
      'select evaluator, score, tenant from scores where request_id = $1 and batch is not null',
      [answer._request_id],
    );
    assert.deepEqual(rows, [{ evaluator: 'feedback', score: 1, tenant: 'shop' }]);
    const scored = await post({ request_id: answer.id, evaluator: 'own-judge', score: 0.5 }, '/v1/scores');
    assert.equal(scored.status, 202);
    const posed = await post({ request_id: answer.id, evaluator: 'judge', score: 0 }, '/v1/scores');
    assert.deepEqual([posed.status, (await errorOf(posed)).param], [400, 'evaluator']);
  });

  it('of one tenant is bounded, and does not keep answers from the ledger', async () => {
    const holder = await db.connect();
    const send = () => post({ request_id: newRequestId(Date.now()), thumb: 'up' }, '/v1/feedback');
    try {
      await holder.query('begin');
      await holder.query('lock table feedback in exclusive mode');
      const sent = Array.from({ length: 25 }, send);
      const refused = await Promise.any(
        sent.map(async (answer) => ((await answer).status === 429 ? answer : Promise.reject())),
      );
      assert.equal((await errorOf(refused)).code, 'TOO_MANY_REQUESTS');
      const { headers } = await post(ask({ user: 'ann' }));
      await sampleOf(headers.get('x-request-id'));
      await holder.query('rollback');
      // Of those that were taken most still wait for a connection to the database, and for 5 s at most: then they are told to come again.
      const statuses = (await Promise.all(sent)).map(({ status }) => status);
      assert.equal(statuses.filter((status) => status === 429).length, 5);
      assert.deepEqual(
        statuses.filter((status) => ![202, 429, 503].includes(status)),
        [],
      );
      assert.equal((await send()).status, 202);
    } finally {
      holder.release();
    }
  });

  it('that is not valid is refused', async () => {
    const request_id = '0190f5a0-0000-7000-8000-000000000000';
    for (const [body, param] of [
      [{ request_id: 'x', score: 1 }, 'request_id'],
      [{ request_id: randomUUID(), score: 1 }, 'request_id'],
      [{ request_id, score: 2 }, 'score'],
      [{ request_id, thumb: 'sideways' }, 'thumb'],
      [{ request_id, score: 1, comment: 3 }, 'comment'],
    ] as const) {
      const error = await errorOf(await post(body, '/v1/feedback'));
      assert.deepEqual([error.status, error.param], [400, param]);
    }
  });
});

describe('the metrics', () => {
  it('tell arms apart, name no user and start failures at zero', async () => {
    await post(ask({ user: 'ann' }));
    const text = await (await fetch(gateway.metricsUrl)).text();
    for (const name of [
      'llm_requests_total',
      'llm_requests_failed_total',
      'llm_request_latency_seconds_bucket',
      'llm_ttft_seconds_bucket',
      'llm_time_per_output_token_seconds_bucket',
      'llm_tokens_total',
      'llm_request_cost_dollars_sum',
      'llm_guardrail_violations_total',
      'llm_upstream_retries_total',
    ]) {
      const line = text
        .split('\n')
        .find((candidate) => candidate.startsWith(`${name}{`) && candidate.includes('"support"'));
      assert.match(line ?? `no ${name}`, /arm="(stable|none)"/);
      assert.match(line ?? '', /revision="[0-9a-f]{12}"/);
    }
  });
});
