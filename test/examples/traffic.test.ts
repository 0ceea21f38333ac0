import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import { Crowd } from '../../examples/support-answers/customers.ts';
import { defaultTraffic, Traffic, type TrafficOptions } from '../../examples/support-answers/traffic.ts';

interface Seen {
  path: string;
  authorization: string | undefined;
  body: Record<string, unknown>;
}

/** A gateway that keeps what it was sent and answers as `answer` says. */
async function gateway(test: TestContext, answer: (seen: Seen, response: ServerResponse) => void) {
  const requests: Seen[] = [];
  const server = createServer(async (request, response) => {
    const seen = {
      path: request.url ?? '',
      authorization: request.headers.authorization,
      body: JSON.parse(await text(request)) as Record<string, unknown>,
    };
    requests.push(seen);
    response.setHeader('x-request-id', `request-${requests.length}`);
    response.setHeader('content-type', seen.body.stream === true ? 'text/event-stream' : 'application/json');
    answer(seen, response);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  test.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { requests, baseURL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1` };
}

function reply(seen: Seen, response: ServerResponse, content = 'Within 30 days.'): void {
  if (seen.body.stream !== true) {
    response.end(
      JSON.stringify({
        choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
      }),
    );
    return;
  }
  const chunk = (delta: object, finish: string | null) =>
    `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
  response.end(`${chunk({ content }, null)}${chunk({}, 'stop')}data: [DONE]\n\n`);
}

/** Runs the traffic until the condition holds. */
async function run(traffic: Traffic, condition: () => boolean): Promise<void> {
  traffic.start();
  const deadline = performance.now() + 10_000;
  while (!condition() && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await traffic.stop();
  assert.ok(condition(), `the traffic came to ${JSON.stringify(traffic.counts())}`);
}

const options = (baseURL: string, more: Partial<TrafficOptions> = {}): TrafficOptions => ({
  ...defaultTraffic,
  baseURL,
  apiKey: 'a-key',
  ...more,
});

describe('traffic', () => {
  it('asks as different customers, streamed and not, and names only the application', async (test) => {
    const { baseURL, requests } = await gateway(test, reply);
    const traffic = new Traffic(options(baseURL, { rate: 400, feedbackShare: 0 }));
    await run(traffic, () => traffic.counts().answered >= 200);
    const { sent, answered, failed, underWay } = traffic.counts();
    assert.deepEqual([answered, failed, underWay], [sent, 0, 0]);
    assert.equal(requests.length, sent);
    const share = (holds: (body: Record<string, unknown>) => boolean) =>
      requests.filter(({ body }) => holds(body)).length / requests.length;
    assert.ok(Math.abs(share((body) => body.stream === true) - 0.5) < 0.15);
    assert.ok(share((body) => 'user' in body) > 0.3);
    assert.ok(share((body) => 'safety_identifier' in body) > 0.3);
    const known = new Set(['model', 'messages', 'stream', 'user', 'safety_identifier']);
    for (const { path, authorization, body } of requests) {
      assert.equal(path, '/v1/chat/completions');
      assert.equal(authorization, 'Bearer a-key');
      assert.equal(body.model, 'support-answers');
      assert.deepEqual(
        Object.keys(body).filter((key) => !known.has(key)),
        [],
      );
      assert.deepEqual(
        (body.messages as { role: string }[]).map((message) => message.role),
        ['user'],
      );
    }
  });

  it('gives thumbs by the request id of the answer', async (test) => {
    const { baseURL, requests } = await gateway(test, (seen, response) => {
      if (seen.path === '/v1/feedback') response.end('{}');
      else reply(seen, response, 'I am not sure about that.');
    });
    const traffic = new Traffic(options(baseURL, { rate: 200, feedbackShare: 1 }));
    await run(traffic, () => traffic.counts().feedback >= 20);
    const thumbs = requests.filter(({ path }) => path === '/v1/feedback').map(({ body }) => body);
    assert.equal(thumbs.length, traffic.counts().feedback);
    for (const thumb of thumbs) {
      assert.match(String(thumb.request_id), /^request-\d+$/);
      assert.equal(thumb.score, 0);
    }
  });

  it('counts failures by status, and a stream that was cut as a failure', async (test) => {
    const { baseURL } = await gateway(test, (seen, response) => {
      if (seen.body.stream === true) {
        response.end(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'Wi' } }] })}\n\n`);
      } else {
        response.statusCode = 503;
        response.end('{"error":{"message":"full"}}');
      }
    });
    const traffic = new Traffic(options(baseURL, { rate: 200 }));
    await run(traffic, () => traffic.counts().failed >= 40);
    const { sent, answered, failed, failures } = traffic.counts();
    assert.deepEqual([answered, failed], [0, sent]);
    assert.equal((failures['503'] ?? 0) + (failures.none ?? 0), failed);
    assert.ok((failures['503'] ?? 0) > 0 && (failures.none ?? 0) > 0);
  });

  it('does not storm a gateway that is slow', async (test) => {
    const held: (() => void)[] = [];
    let open = false;
    const { baseURL, requests } = await gateway(test, (seen, response) => {
      if (open) reply(seen, response);
      else held.push(() => reply(seen, response));
    });
    const traffic = new Traffic(options(baseURL, { rate: 2000, concurrency: 8, feedbackShare: 0 }));
    traffic.start();
    const deadline = performance.now() + 10_000;
    while ((traffic.counts().heldBack < 50 || requests.length < 8) && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const { underWay, heldBack } = traffic.counts();
    const stopped = traffic.stop();
    open = true;
    for (const answer of held) answer();
    await stopped;
    assert.equal(underWay, 8);
    assert.equal(requests.length, 8);
    assert.ok(heldBack >= 50);
    assert.equal(traffic.counts().answered, 8);
  });
});

describe('crowd', () => {
  const draw = (seed: number, count: number) => {
    const crowd = new Crowd(3000, ['one?', 'two?', 'three?'], seed);
    return Array.from({ length: count }, () => crowd.next());
  };

  it('is the same for the same seed', () => {
    assert.deepEqual(draw(7, 200), draw(7, 200));
    assert.notDeepEqual(draw(7, 200), draw(8, 200));
  });

  it('has customers of very different activity, most of whom come', () => {
    const requests = new Map<string, number>();
    for (const { customer } of draw(1, 30_000))
      requests.set(customer.id, (requests.get(customer.id) ?? 0) + 1);
    const activity = [...requests.values()].sort((a, b) => b - a);
    const busiest = activity.slice(0, 300).reduce((sum, count) => sum + count, 0) / 30_000;
    assert.ok(requests.size > 2700);
    assert.ok(busiest > 0.2 && busiest < 0.4, `the busiest tenth sends ${busiest}`);
  });

  it('comes at the rate that was asked for', () => {
    const crowd = new Crowd(10, ['one?'], 1);
    let seconds = 0;
    for (let request = 0; request < 20_000; request++) seconds += crowd.pause(150);
    assert.ok(Math.abs(20_000 / seconds - 150) < 5);
  });
});
