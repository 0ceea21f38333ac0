import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { createKubernetesClient } from '../../../adapters/kubernetes/client.ts';
import { resources } from '../../../adapters/kubernetes/resources.ts';
import { type WatchedObject, watchObjects } from '../../../adapters/kubernetes/watch.ts';
import { silentLog } from '../../support/log.ts';
import { until } from '../../support/servings.ts';
import { answer, type Line, refuse, startScript } from './script.ts';

async function played(t: TestContext, script: Line[]) {
  const { config, requests } = await startScript(t, script);
  const ending = new AbortController();
  const said: string[] = [];
  const outages: unknown[] = [];
  const watching = watchObjects<WatchedObject>({
    config,
    client: createKubernetesClient(config),
    resource: resources.pods,
    namespace: 'n',
    labelSelector: 'a=b',
    onList: (objects) => said.push(`list ${objects.map(({ metadata }) => metadata.name).join(' ')}`),
    onChange: (type, { metadata }) => said.push(`${type} ${metadata.name}`),
    onTouch: (error) => {
      if (error !== null) outages.push(error);
    },
    log: silentLog,
    signal: ending.signal,
  });
  t.after(async () => {
    ending.abort();
    await watching;
  });
  return { requests, said, outages, end: () => ending.abort(), watching };
}

const list = (version: string, ...names: string[]): Line =>
  answer({ metadata: { resourceVersion: version }, items: names.map((name) => ({ metadata: { name } })) });
const event = (type: string, name: string, resourceVersion: string): string =>
  `${JSON.stringify({ type, object: { metadata: { name, resourceVersion } } })}\n`;
const stream =
  (...lines: string[]): Line =>
  (response) => {
    response.writeHead(200);
    response.end(lines.join(''));
  };
const gone = `${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired' } })}\n`;

test('a watch that ends goes on from the last version that it saw, also that of a bookmark', async (t) => {
  const { requests, said } = await played(t, [
    list('10', 'a'),
    stream(event('MODIFIED', 'a', '11'), event('BOOKMARK', '', '15')),
    stream(event('DELETED', 'a', '16')),
  ]);
  await until(
    'three watches',
    () => requests.length,
    (count) => count === 4,
  );
  assert.deepEqual(said, ['list a', 'MODIFIED a', 'DELETED a']);
  const [first, ...watches] = requests;
  assert.equal(first?.searchParams.get('watch'), null);
  assert.equal(first?.searchParams.get('labelSelector'), 'a=b');
  assert.deepEqual(
    watches.map(({ pathname, searchParams }) => [pathname, searchParams.get('resourceVersion')]),
    [
      ['/api/v1/namespaces/n/pods', '10'],
      ['/api/v1/namespaces/n/pods', '15'],
      ['/api/v1/namespaces/n/pods', '16'],
    ],
  );
  for (const { searchParams } of watches) {
    assert.equal(searchParams.get('allowWatchBookmarks'), 'true');
    assert.equal(searchParams.get('labelSelector'), 'a=b');
    // The client library gives a silent watch up after 30 s: one that the server ends before is not an outage.
    const seconds = Number(searchParams.get('timeoutSeconds'));
    assert.ok(seconds > 0 && seconds < 30, String(seconds));
  }
});

for (const [how, line] of [
  ['in the stream', stream(gone)],
  ['as the answer', refuse(410)],
] as const) {
  test(`a version that the server has forgotten, told ${how}, makes it list anew`, async (t) => {
    const { requests, said } = await played(t, [list('10', 'a'), line, list('20', 'b')]);
    await until(
      'the second watch',
      () => requests.length,
      (count) => count === 4,
    );
    assert.deepEqual(said, ['list a', 'list b']);
    assert.equal(requests[3]?.searchParams.get('resourceVersion'), '20');
  });
}

test('errors and cut connections are ridden out without a new list', async (t) => {
  const { requests, said } = await played(t, [
    list('10', 'a'),
    refuse(503),
    (response) => response.destroy(),
    stream(event('ADDED', 'b', '11')),
  ]);
  await until(
    'the event',
    () => said.length,
    (count) => count === 2,
  );
  assert.deepEqual(said, ['list a', 'ADDED b']);
  assert.deepEqual(
    requests.slice(1, 4).map(({ searchParams }) => searchParams.get('resourceVersion')),
    ['10', '10', '10'],
  );
});

test('an outage at the first list is ridden out', async (t) => {
  const { said } = await played(t, [refuse(500), refuse(500), list('1')]);
  await until(
    'the list',
    () => said,
    (all) => all.length === 1,
  );
  assert.deepEqual(said, ['list ']);
});

test('the signal ends it while it is connected', async (t) => {
  const { requests, end, watching } = await played(t, [list('1')]);
  await until(
    'the watch',
    () => requests.length,
    (count) => count === 2,
  );
  end();
  await watching;
  assert.equal(requests.length, 2);
});

test('watches that end at once and say nothing are an outage, not a reason to ask without a pause', async (t) => {
  const { outages, said } = await played(t, [list('1'), stream(), stream(), stream()]);
  await until(
    'three of them',
    () => outages.length,
    (count) => count === 3,
  );
  assert.deepEqual(said, ['list ']);
});
