import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SlipwayError } from '../../../domain/errors.ts';
import { defaultClusterSettings, parseClusterSettings } from '../../../domain/kubernetes/settings.ts';

test('an empty file is the default settings', () => {
  for (const empty of ['', '{}', '# nothing']) {
    assert.deepEqual(parseClusterSettings(empty), defaultClusterSettings);
  }
});

test('a file says only what is different: members and GPU kinds join the default, lists replace it', () => {
  const settings = parseClusterSettings(`
resources: { memory: 128Gi }
gpus: { T4-16GB: { nodeSelector: { pool: t4 } } }
clients: []
drain: 2m
autoscaling: { waitingRequests: 9 }
`);
  assert.deepEqual(settings.resources, { cpu: '16', memory: '128Gi' });
  assert.deepEqual(settings.gpus['T4-16GB'], {
    resource: 'nvidia.com/gpu',
    nodeSelector: { pool: 't4' },
    tolerations: [{ key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' }],
  });
  assert.deepEqual(settings.gpus['L4-24GB'], defaultClusterSettings.gpus['L4-24GB']);
  assert.deepEqual(settings.clients, []);
  assert.equal(settings.drain, 120_000);
  assert.deepEqual(settings.autoscaling, { ...defaultClusterSettings.autoscaling, waitingRequests: 9 });
});

const refused: [yaml: string, field: string, remedy: RegExp][] = [
  ['image: vllm/vllm-openai:latest', 'image', /@sha256/],
  ['gpu: {}', 'gpu', /one of: namespace, image/],
  ['namespace: Slipway', 'namespace', /lower case/],
  ['modelCache: { claim: a, hostPath: /b }', 'modelCache', /exactly one of/],
  ['modelCache: {}', 'modelCache', /exactly one of/],
  ['modelCache: { hostPath: relative }', 'modelCache.hostPath', /absolute/],
  ['hfToken: token', 'hfToken', /object/],
  ['hfToken: { name: token }', 'hfToken.key', /Give it/],
  ['resources: { cpu: 16 }', 'resources.cpu', /in quotes/],
  ['resources: { memory: 64 GB }', 'resources.memory', /64Gi/],
  ['gpus: { X: { nodeSelector: { a: b c } } }', 'gpus.X.nodeSelector.a', /letters/],
  ['gpus: { X: { nodeselector: {} } }', 'gpus.X.nodeSelector', /Give it/],
  ['drain: 30', 'drain', /90s/],
  ['startup: 1h', 'progressDeadline', /longer than startup/],
  ['modelHub: { cidrs: [anywhere], port: 443 }', 'modelHub.cidrs[0]', /10\.0\.0\.0\/8/],
  ['modelHub: { cidrs: [10.0.0.0/8], port: 0 }', 'modelHub.port', /at least 1/],
  ['autoscaling: { prometheusUrl: prometheus:9090 }', 'autoscaling.prometheusUrl', /http/],
  ['runAsUser: -1', 'runAsUser', /at least 0/],
  ['namespace: a\nnamespace: b', 'line 2, column 1', /Correct/],
];

for (const [yaml, field, remedy] of refused) {
  test(`${JSON.stringify(yaml)} is refused at ${field}, with a remedy`, () => {
    assert.throws(
      () => parseClusterSettings(yaml),
      (error) => {
        assert.ok(error instanceof SlipwayError);
        assert.equal(error.code, 'INPUT_INVALID');
        assert.equal(error.details.field, field);
        assert.match(error.details.remedy ?? '', remedy);
        return true;
      },
    );
  });
}
