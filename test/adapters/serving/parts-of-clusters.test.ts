import assert from 'node:assert/strict';
import { test } from 'node:test';
import { quantityOf, requestOf } from '../../../adapters/kubernetes/objects.ts';
import { gpuFigures, nodesInWords } from '../../../adapters/serving/kubernetes/gpus.ts';
import { logTail } from '../../../adapters/serving/kubernetes/log-tail.ts';
import { observationOf } from '../../../adapters/serving/kubernetes/observation.ts';
import { demandOf, excesses } from '../../../adapters/serving/kubernetes/quota.ts';
import { deployment, node, pod, readyPod } from './kubernetes-objects.ts';

const quantities: [string | undefined, number][] = [
  ['4', 4],
  ['500m', 0.5],
  ['1.5Gi', 1.5 * 2 ** 30],
  ['64Gi', 64 * 2 ** 30],
  ['1Ki', 1024],
  ['2k', 2000],
  ['3M', 3e6],
  ['1e3', 1000],
  ['2E', 2e18],
  [undefined, 0],
  ['much', 0],
];
for (const [text, value] of quantities) {
  test(`the quantity ${text} is ${value}`, () => assert.equal(quantityOf(text), value));
}

test('a pod asks for its containers together, or for its greediest init container', () => {
  const gpus = (count: string) => ({ name: 'x', resources: { limits: { gpu: count } } });
  assert.equal(requestOf({ containers: [gpus('2'), gpus('1')] }, 'gpu'), 3);
  assert.equal(requestOf({ containers: [gpus('2')], initContainers: [gpus('4'), gpus('1')] }, 'gpu'), 4);
  assert.equal(
    requestOf(
      { containers: [{ name: 'x', resources: { requests: { gpu: '1' }, limits: { gpu: '2' } } }] },
      'gpu',
    ),
    1,
  );
});

const wish = { count: 4, resource: 'nvidia.com/gpu', nodeSelector: {}, tolerations: [] };
const holding = (nodeName: string | undefined, gpus: string, phase: 'Running' | 'Succeeded' = 'Running') => {
  const { nodeName: _, ...spec } = pod().spec;
  const containers = [{ name: 'x', resources: { requests: { 'nvidia.com/gpu': gpus } } }];
  return {
    ...pod(),
    spec: { ...spec, containers, ...(nodeName !== undefined && { nodeName }) },
    status: { phase },
  };
};

test('GPUs are free that no pod on the node has asked for; a replica needs all of its own on one node', () => {
  const nodes = [node('b', 8), node('a', 8), node('c', 3)];
  const pods = [
    holding('a', '3'),
    holding('a', '2'),
    holding('b', '4', 'Succeeded'),
    holding(undefined, '8'),
  ];
  const figures = gpuFigures(wish, nodes, pods);
  assert.equal(nodesInWords(figures), 'a 3 of 8, b 8 of 8, c 3 of 3');
  assert.deepEqual({ free: figures.free, room: figures.room }, { free: 14, room: 2 });
  assert.equal(nodesInWords(figures, 1), 'a 3 of 8 and 2 more nodes');
});

test('nodes that another selector means do not count, nor do GPUs that nobody may have', () => {
  const nodes = [node('a', 8, { spec: { unschedulable: true } }), node('b', 8)];
  const selected = { ...wish, nodeSelector: { 'nvidia.com/gpu.product': 'A100' } };
  assert.equal(gpuFigures(selected, nodes, []).free, 8);
  const other = gpuFigures({ ...wish, nodeSelector: { 'nvidia.com/gpu.product': 'H100' } }, nodes, []);
  assert.deepEqual(
    { nodes: other.nodes, all: other.allNodes, room: other.room },
    { nodes: [], all: 2, room: 0 },
  );
});

const taint = { key: 'gpu', value: 'yes', effect: 'NoSchedule' };
const tolerations: [object, boolean][] = [
  [{ key: 'gpu', operator: 'Exists' }, true],
  [{ operator: 'Exists' }, true],
  [{ key: 'gpu', operator: 'Exists', effect: 'NoExecute' }, false],
  [{ key: 'gpu', operator: 'Equal', value: 'yes', effect: 'NoSchedule' }, true],
  [{ key: 'gpu', value: 'yes' }, true],
  [{ key: 'gpu', value: 'no' }, false],
  [{ key: 'other', operator: 'Exists' }, false],
];
for (const [toleration, taken] of tolerations) {
  test(`${JSON.stringify(toleration)} ${taken ? 'tolerates' : 'does not tolerate'} gpu=yes:NoSchedule`, () => {
    const tainted = node('a', 8, { spec: { taints: [taint] } });
    const [figure] = gpuFigures({ ...wish, tolerations: [toleration] }, [tainted], []).nodes;
    assert.equal(figure?.obstacle === null, taken);
  });
}

test('a taint that only asks to be avoided keeps nothing away', () => {
  const avoided = node('a', 8, { spec: { taints: [{ ...taint, effect: 'PreferNoSchedule' }] } });
  assert.equal(gpuFigures(wish, [avoided], []).room, 2);
});

test('a quota has room or not, by every name under which it counts', () => {
  const demand = demandOf({ cpu: '16', memory: '64Gi', 'nvidia.com/gpu': '4' }, 2);
  const quota = (hard: Record<string, string>, used: Record<string, string> = {}) => [
    { metadata: deployment().metadata, status: { hard, used } },
  ];
  const exceeded = (hard: Record<string, string>, used?: Record<string, string>): string[] =>
    excesses(demand, quota(hard, used)).map(({ resource }) => resource);
  assert.deepEqual(exceeded({ 'requests.nvidia.com/gpu': '8', 'limits.memory': '128Gi', pods: '2' }), []);
  assert.deepEqual(exceeded({ 'requests.nvidia.com/gpu': '8' }, { 'requests.nvidia.com/gpu': '1' }), [
    'requests.nvidia.com/gpu',
  ]);
  assert.deepEqual(exceeded({ pods: '1', cpu: '31', memory: '1Ti', 'limits.cpu': '32', services: '0' }), [
    'pods',
    'cpu',
  ]);
});

test('the end of a log has no prompts and no keys', () => {
  const log = [
    'x'.repeat(500),
    "non-default args: {'api_key': ['sk-secret-1'], 'model': 'llama'}",
    'Received request cmpl-1: prompt: "my name is Ada"',
    "'prompt': 'my name is Ada', params",
    "Generated response chatcmpl-1: output: 'Hello Ada', output_token_ids: [9, 1], finish_reason: stop",
    'loading with token hf_abcdefghijkl',
    'Authorization: Bearer sk-secret-2',
    '--api-key sk-secret-3 --port 8000',
    '',
    'done',
  ].join('\n');
  const tail = logTail(log);
  assert.doesNotMatch(tail, /Ada|sk-secret|hf_abc/);
  assert.match(tail, /'model': 'llama'/);
  assert.match(tail, /--port 8000\ndone$/);
  assert.equal(tail.split('\n')[0]?.length, 401);
  const last = logTail(Array.from({ length: 30 }, (_, i) => `line ${i}`).join('\n')).split('\n');
  assert.deepEqual([last.length, last[0], last[9]], [10, 'line 20', 'line 29']);
});

const parts = { deployment: deployment(), pods: [], others: [], gpuResources: ['nvidia.com/gpu'] };
const digest = 'sha256:0123456789abcdef';

test('states: absent, starting, ready, stopping', () => {
  const state = (changes: Partial<typeof parts> | object) =>
    observationOf(digest, { ...parts, ...changes }, null);
  assert.equal(state({ deployment: null }).state, 'absent');
  assert.equal(state({}).state, 'starting');
  assert.equal(state({ pods: [readyPod()] }).state, 'ready');
  assert.equal(state({ pods: [readyPod({ podIP: 'fd00::1' })] }).endpoints[0], 'http://[fd00::1]:8000');
  const going = { ...deployment().metadata, deletionTimestamp: '2026-11-21T12:00:00Z' };
  const terminating = { ...readyPod(), metadata: going };
  assert.deepEqual(state({ pods: [terminating] }).endpoints, []);
  assert.equal(
    state({ deployment: { ...deployment(), metadata: going }, pods: [readyPod()] }).state,
    'stopping',
  );
  const two = { ...deployment(), spec: { ...deployment().spec, replicas: 2 } };
  const half = state({ deployment: two, pods: [readyPod()] });
  assert.deepEqual([half.state, half.ready, half.wanted], ['starting', 1, 2]);
  assert.equal(state({ pods: [readyPod(), pod({}, { phase: 'Failed' })] }).gpus, 1);
  const orphan = state({ deployment: null, pods: [pod()] });
  assert.deepEqual(
    [orphan.state, orphan.gpus, orphan.since],
    ['stopping', 1, Date.parse('2026-11-21T12:00:00Z')],
  );
  assert.match(
    state({ deployment: null, others: [deployment()] }).message,
    /1 object of it left, without a Deployment/,
  );
});

test('a problem makes a serving failed only where it lasts', () => {
  const seen = (lasting: boolean) =>
    observationOf(digest, { ...parts, pods: [pod()] }, { message: 'no GPU', remedy: 'Buy one', lasting });
  assert.deepEqual(
    { ...seen(true), endpoints: 0 },
    {
      digest,
      name: 'slipway-0123456789ab',
      state: 'failed',
      ready: 0,
      wanted: 1,
      endpoints: 0,
      message: '0 of 1 replica ready, 1 loading the model: no GPU',
      remedy: 'Buy one',
      gpus: 1,
      since: Date.parse('2026-11-21T12:00:00Z'),
    },
  );
  assert.equal(seen(false).state, 'starting');
});
