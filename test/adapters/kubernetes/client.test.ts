import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { createKubernetesClient } from '../../../adapters/kubernetes/client.ts';
import { resources } from '../../../adapters/kubernetes/resources.ts';
import { answer, type Line, refuse, startScript } from './script.ts';

const place = { namespace: 'n', name: 'x' };
const denied = refuse(
  403,
  'pods is forbidden: User "ada" cannot list resource "pods" in API group "" in the namespace "n"',
  'Forbidden',
);
const empty = answer({ metadata: { resourceVersion: '1' }, items: [] });

test('what the server takes later by itself is sent again', async (t) => {
  const script = [refuse(429), refuse(409, 'modified', 'Conflict'), refuse(503), answer({ ok: true })];
  const { config, requests } = await startScript(t, script);
  const applied = await createKubernetesClient(config).apply(
    resources.deployments,
    place,
    {},
    { fieldManager: 'f' },
  );
  assert.deepEqual(applied, { ok: true });
  assert.equal(requests.length, 4);
  assert.equal(requests[0]?.pathname, '/apis/apps/v1/namespaces/n/deployments/x');
  assert.equal(requests[0]?.searchParams.get('force'), 'true');
});

test('what it refuses for good is not', async (t) => {
  const { config, requests } = await startScript(t, [refuse(422, 'spec.replicas: Invalid value', 'Invalid')]);
  const applying = createKubernetesClient(config).apply(
    resources.deployments,
    place,
    {},
    { fieldManager: 'f' },
  );
  await assert.rejects(applying, { code: 'SERVING_FAILED', message: /apply deployments\/x: spec\.replicas/ });
  assert.equal(requests.length, 1);
});

test('an outage that lasts is DEPENDENCY_UNAVAILABLE', async (t) => {
  const { config } = await startScript(t, Array(9).fill(refuse(503, 'etcd is away')));
  await assert.rejects(createKubernetesClient(config).list(resources.pods, { namespace: 'n' }), {
    code: 'DEPENDENCY_UNAVAILABLE',
    message: /list pods: etcd is away/,
  });
});

test('a server that does not know its roles yet is asked again when it is ready', async (t) => {
  const { config, requests } = await startScript(t, [
    denied,
    refuse(500, 'informer-sync'),
    answer('ok'),
    empty,
  ]);
  const { items } = await createKubernetesClient(config).list(resources.pods, { namespace: 'n' });
  assert.deepEqual(items, []);
  assert.deepEqual(
    requests.map(({ pathname }) => pathname),
    ['/api/v1/namespaces/n/pods', '/readyz', '/readyz', '/api/v1/namespaces/n/pods'],
  );
});

test('what a ready server refuses twice is forbidden', async (t) => {
  const { config, requests } = await startScript(t, [denied, answer('ok'), denied]);
  await assert.rejects(createKubernetesClient(config).list(resources.pods, { namespace: 'n' }), {
    code: 'FORBIDDEN',
    message: 'ada may not list pods in namespace n',
  });
  assert.equal(requests.length, 3);
});

test('long lists come in pages, and begin anew when the server has forgotten the first one', async (t) => {
  const page = (name: string, next?: string) =>
    answer({ metadata: { resourceVersion: '7', continue: next }, items: [{ name }] });
  const { config, requests } = await startScript(t, [
    page('lost', 'a'),
    refuse(410, 'too old', 'Expired'),
    page('one', 'b'),
    page('two'),
  ]);
  const listed = await createKubernetesClient(config).list(resources.pods, {});
  assert.deepEqual(listed, { items: [{ name: 'one' }, { name: 'two' }], resourceVersion: '7' });
  assert.deepEqual(
    requests.map(({ searchParams }) => searchParams.get('continue')),
    [null, 'a', null, 'b'],
  );
});

test('what is not there is null, false and an empty list', async (t) => {
  const { config } = await startScript(t, Array(5).fill(refuse(404, 'not found', 'NotFound')));
  const client = createKubernetesClient(config);
  assert.equal(await client.get(resources.secrets, place), null);
  assert.equal(await client.remove(resources.pods, place), false);
  assert.deepEqual((await client.list(resources.pods)).items, []);
  assert.equal(await client.knows(resources.pods), false);
  assert.equal(await client.log(place, 'vllm', { lines: 1, previous: false }), null);
});

test('an object that is another one by its uid is neither removed nor changed', async (t) => {
  const other = refuse(409, 'Precondition failed: UID in precondition: 1, UID in object meta: 2', 'Conflict');
  const { config, requests } = await startScript(t, [other, other]);
  const client = createKubernetesClient(config);
  assert.equal(await client.remove(resources.pods, place, { uid: '1' }), false);
  assert.equal(
    await client.apply(resources.pods, place, { metadata: { uid: '1' } }, { fieldManager: 'f' }),
    null,
  );
  assert.equal(requests.length, 2);
});

/** Answers with the request itself: its headers, query and body. */
const echo: Line = async (response, url, sent) => {
  const body = await text(sent);
  const { accept } = sent.headers;
  const query = Object.fromEntries(url.searchParams);
  response.end(JSON.stringify({ accept, query, body: body === '' ? null : JSON.parse(body) }));
};

test('a removal means one object by its uid, and says what becomes of what belongs to it', async (t) => {
  const bodies: unknown[] = [];
  const keep: Line = async (response, _, sent) => {
    bodies.push(JSON.parse(await text(sent)));
    response.end('{}');
  };
  const { config } = await startScript(t, [keep, keep]);
  const client = createKubernetesClient(config);
  const options = { uid: '1', propagation: 'foreground', gracePeriodSeconds: 0 } as const;
  assert.equal(await client.remove(resources.pods, place, options), true);
  assert.equal(await client.remove(resources.pods, place), true);
  const kind = { apiVersion: 'v1', kind: 'DeleteOptions' };
  assert.deepEqual(bodies, [
    { ...kind, propagationPolicy: 'Foreground', preconditions: { uid: '1' }, gracePeriodSeconds: 0 },
    { ...kind, propagationPolicy: 'Background' },
  ]);
});

test('a dry run says so to the server; fields that it does not know are refused, and conflicts are won', async (t) => {
  const { config } = await startScript(t, [echo, echo]);
  const client = createKubernetesClient(config);
  const apply = (dryRun: boolean) =>
    client.apply<{ query: object }>(resources.pods, place, {}, { fieldManager: 'f', dryRun });
  const applied = { fieldManager: 'f', force: 'true', fieldValidation: 'Strict' };
  assert.deepEqual((await apply(true))?.query, { ...applied, dryRun: 'All' });
  assert.deepEqual((await apply(false))?.query, applied);
});

test('of an object whose metadata is asked for nothing else is sent', async (t) => {
  const { config } = await startScript(t, [echo]);
  const client = createKubernetesClient(config);
  const got = await client.get<{ accept: string }>(resources.secrets, place, { metadataOnly: true });
  assert.match(got?.accept ?? '', /as=PartialObjectMetadata/);
});
