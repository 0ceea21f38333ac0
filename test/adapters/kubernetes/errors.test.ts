import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorOf, isPassing, toldError } from '../../../adapters/kubernetes/errors.ts';

const status = (reason: string, message: string, details = {}): string =>
  JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', reason, message, details });

test('a role that lacks a verb is told with user, verb, resource and namespace', () => {
  const message =
    'deployments.apps "slipway-1" is forbidden: User "system:serviceaccount:slipway:worker" cannot patch resource "deployments" in API group "apps" in the namespace "llm"';
  const told = toldError(errorOf(403, status('Forbidden', message)), 'apply deployments/slipway-1');
  assert.equal(told.code, 'FORBIDDEN');
  assert.equal(
    told.message,
    'system:serviceaccount:slipway:worker may not patch deployments.apps in namespace llm',
  );
  assert.deepEqual(told.details, {
    field: 'KUBECONFIG',
    value: 'patch deployments.apps',
    remedy: 'Add the verb patch on deployments.apps to the role of system:serviceaccount:slipway:worker',
  });
});

test('what has no namespace is of the whole cluster', () => {
  const message =
    'nodes is forbidden: User "ada" cannot list resource "nodes" in API group "" at the cluster scope';
  assert.equal(
    toldError(errorOf(403, status('Forbidden', message)), 'list nodes').message,
    'ada may not list nodes in the whole cluster',
  );
});

const codes: [string, number, string, string][] = [
  [
    'a quota',
    403,
    status('Forbidden', 'services "x" is forbidden: exceeded quota: few, requested: services=1'),
    'SERVING_FAILED',
  ],
  [
    'an admission policy',
    403,
    status('Forbidden', 'admission webhook "p" denied the request: no'),
    'FORBIDDEN',
  ],
  ['unknown credentials', 401, status('Unauthorized', 'Unauthorized'), 'FORBIDDEN'],
  ['a field that does not exist', 400, status('BadRequest', 'unknown field "spec.x"'), 'SERVING_FAILED'],
  ['a value that is not valid', 422, status('Invalid', 'spec.replicas: Invalid value'), 'SERVING_FAILED'],
  [
    'too many requests',
    429,
    status('TooManyRequests', 'slow down', { retryAfterSeconds: 3 }),
    'DEPENDENCY_UNAVAILABLE',
  ],
  [
    'a conflict of writers',
    409,
    status('Conflict', 'the object has been modified'),
    'DEPENDENCY_UNAVAILABLE',
  ],
  [
    'another object of that name',
    409,
    status('Conflict', 'Precondition failed: UID in precondition: 1'),
    'SERVING_FAILED',
  ],
  ['an error of the server', 500, status('InternalError', 'etcd'), 'DEPENDENCY_UNAVAILABLE'],
  ['the page of a proxy', 502, '<html>bad gateway</html>', 'DEPENDENCY_UNAVAILABLE'],
];
for (const [what, code, body, told] of codes) {
  test(`${what} is ${told}`, () => {
    const error = errorOf(code, body);
    assert.equal(toldError(error, 'x').code, told);
    assert.equal(isPassing(error), told === 'DEPENDENCY_UNAVAILABLE');
  });
}

test('the server says how long to wait, in the body or the header', () => {
  assert.equal(errorOf(429, status('TooManyRequests', '', { retryAfterSeconds: 3 })).retryAfter, 3);
  assert.equal(errorOf(429, '', '7').retryAfter, 7);
  assert.equal(errorOf(429, '').retryAfter, null);
});

test('a namespace that does not exist has its own remedy', () => {
  const told = toldError(errorOf(404, status('NotFound', 'namespaces "llm" not found')), 'apply services/x');
  assert.match(told.details.remedy ?? '', /^Create the namespace/);
});

test('no answer at all is an outage, with the reason below', () => {
  const error = new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED 127.0.0.1:6443') });
  const told = toldError(error, 'list pods');
  assert.equal(told.code, 'DEPENDENCY_UNAVAILABLE');
  assert.match(told.message, /list pods: connect ECONNREFUSED/);
});
