import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { createPrometheus, type Prometheus } from '../../../adapters/prometheus/prometheus.ts';
import { freePort } from '../../../deploy/local/ports.ts';
import { startPrometheus, type TestPrometheus } from '../../support/stack.ts';

let server: TestPrometheus;
let prometheus: Prometheus;

before(async () => {
  server = await startPrometheus();
  prometheus = createPrometheus({ url: `${server.url}/` });
});
after(() => server?.stop());

test('answers with a figure, without one, and none at all are told apart', async () => {
  assert.deepEqual(await prometheus.query('vector(42.5)'), { kind: 'value', value: 42.5 });
  assert.deepEqual(await prometheus.query('7'), { kind: 'value', value: 7 });
  assert.deepEqual(await prometheus.query('sum(no_such_metric)'), { kind: 'empty' });
  assert.deepEqual(await prometheus.query('vector(0) / 0'), { kind: 'nan', value: Number.NaN });
  assert.deepEqual(await prometheus.query('vector(1) / 0'), { kind: 'nan', value: Number.POSITIVE_INFINITY });
  assert.deepEqual(await prometheus.query('vector(-1) / 0'), {
    kind: 'nan',
    value: Number.NEGATIVE_INFINITY,
  });
});

test('a query that cannot be read, or gives more than one number, is refused', async () => {
  const bad = await prometheus.query('sum(');
  assert.equal(bad.kind, 'refused');
  assert.match(bad.kind === 'refused' ? bad.message : '', /parse error/);
  const two = 'label_replace(vector(1), "a", "1", "", "") or label_replace(vector(2), "a", "2", "", "")';
  assert.deepEqual(await prometheus.query(two), { kind: 'refused', message: 'the query gives 2 series' });
  assert.equal((await prometheus.query('"text"')).kind, 'refused');
});

test('a metric that nobody announces is not known', async () => {
  assert.equal(await prometheus.knows('no_such_metric_total'), false);
});

test('no answer, a late one, and one of another program are unreachable, each with its reason', async () => {
  const nobody = createPrometheus({ url: `http://127.0.0.1:${await freePort()}` });
  assert.deepEqual(await nobody.query('1'), {
    kind: 'unreachable',
    message: 'Prometheus does not answer: ECONNREFUSED',
  });
  assert.equal(typeof (await nobody.knows('x')), 'object');

  const silent = createServer(() => undefined).listen(0, '127.0.0.1');
  const other = createServer((_, response) => response.end('{"hello":1}')).listen(0, '127.0.0.1');
  const page = createServer((_, response) => response.writeHead(502).end('<html>')).listen(0, '127.0.0.1');
  try {
    await Promise.all([silent, other, page].map((http) => once(http, 'listening')));
    const at = (http: typeof silent) => `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    assert.deepEqual(await createPrometheus({ url: at(silent), timeoutMs: 100 }).query('1'), {
      kind: 'unreachable',
      message: 'Prometheus does not answer: timed out',
    });
    assert.equal((await createPrometheus({ url: at(other) }).query('1')).kind, 'unreachable');
    assert.equal((await createPrometheus({ url: at(page) }).query('1')).kind, 'unreachable');
  } finally {
    for (const http of [silent, other, page]) {
      http.closeAllConnections();
      http.close();
    }
  }
});
