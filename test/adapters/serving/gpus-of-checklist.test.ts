import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Node } from '../../../adapters/kubernetes/objects.ts';
import { gpuItem } from '../../../adapters/serving/kubernetes/check.ts';
import { gpuFigures } from '../../../adapters/serving/kubernetes/gpus.ts';
import { node, pod } from './kubernetes-objects.ts';

const PRODUCT = 'nvidia.com/gpu.product';

/** The item for replicas of `count` GPUs, on these nodes, of which `gpu-1` has one GPU less. */
function item(nodes: Node[], { replicas = 1, count = 1, product = 'A100', growing = false } = {}) {
  const wish = { count, resource: 'nvidia.com/gpu', nodeSelector: { [PRODUCT]: product }, tolerations: [] };
  const wanted = { replicas, count, kind: 'big', nodeSelector: wish.nodeSelector, growing };
  return gpuItem(gpuFigures(wish, nodes, [pod()]), wanted);
}
const labelled = (name: string, labels: Record<string, string>, gpus = 4): Node => {
  const plain = node(name, gpus);
  return { ...plain, metadata: { ...plain.metadata, labels } };
};
const tainted = (name: string): Node =>
  node(name, 8, { spec: { taints: [{ key: 'team', value: 'x', effect: 'NoSchedule' }] } });

test('GPUs that are free pass', () => {
  assert.deepEqual(item([node('gpu-1', 8)], { count: 7 }), {
    passed: true,
    message: 'wanted 1 × 7 big, free are 7 with room for 1 replica (gpu-1 7 of 8)',
  });
});

test('a kind that is nowhere: which there are', () => {
  const nodes = [
    node('b', 8),
    node('a', 8),
    labelled('c', { [PRODUCT]: 'L4' }),
    labelled('d', {}),
    labelled('cpu', { [PRODUCT]: 'none' }, 0),
  ];
  const { passed, message, remedy } = item(nodes, { product: 'H200' });
  assert.equal(passed, false);
  assert.equal(
    message,
    `wanted 1 × 1 big; none of the 5 nodes has ${PRODUCT}=H200, there are: nvidia.com/gpu without these labels; ${PRODUCT}=A100; ${PRODUCT}=L4`,
  );
  assert.match(remedy ?? '', /^Use a kind that there is, correct gpus\.big\.nodeSelector/);
  assert.match(item([labelled('cpu', {}, 0)]).message, /and none has GPUs$/);
});

test('more GPUs a replica than any node has: nothing that others free would help', () => {
  const { passed, message, remedy } = item([node('gpu-1', 8), node('gpu-2', 4)], { count: 16 });
  assert.equal(passed, false);
  assert.match(message, /; no node can ever hold a replica, the largest has 8 GPUs \(gpu-1 7 of 8, gpu-2/);
  assert.match(remedy ?? '', /^Give a replica at most 8 GPUs/);
  assert.doesNotMatch(remedy ?? '', /reaper/);
});

test('nodes that are closed', () => {
  const { passed, remedy } = item([tainted('gpu-2')], { count: 8 });
  assert.equal(passed, false);
  assert.match(remedy ?? '', /^Add a toleration of team=x:NoSchedule/);
});

test('more replicas than the nodes hold when they are empty', () => {
  const { passed, message, remedy } = item([node('gpu-1', 8)], { count: 4, replicas: 3 });
  assert.equal(passed, false);
  assert.match(message, /with room for 1 replica \(gpu-1 7 of 8\), and for 2 if nothing else ran there$/);
  assert.match(remedy ?? '', /^Ask for at most 2 replicas/);
});

test('GPUs that others have now: who may free them', () => {
  const { passed, message, remedy } = item([node('gpu-1', 8)], { count: 8 });
  assert.equal(passed, false);
  assert.match(message, /free are 7 with room for 0 replicas \(gpu-1 7 of 8\)$/);
  assert.match(remedy ?? '', /slipway reaper report/);
  assert.match(remedy ?? '', /autoscaling\.nodes: true/);
});

test('a cluster that grows passes what it has no room for, and says so', () => {
  for (const more of [{ product: 'H200' }, { count: 16 }, { count: 4, replicas: 3 }, { count: 8 }]) {
    const { passed, message } = item([node('gpu-1', 8)], { ...more, growing: true });
    assert.equal(passed, true);
    assert.match(message, /; the cluster is to add nodes$/);
  }
});
