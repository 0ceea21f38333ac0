import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { type ObservedPod, podStatus } from '../../../simulator/nodes/pod-status.ts';

const now = new Date('2026-01-02T00:00:00Z');
const earlier = new Date('2026-01-01T00:00:00Z');

function container(
  state: 'waiting' | 'running' | number,
  more: Partial<V1ContainerStatus> = {},
): V1ContainerStatus {
  const base = { name: 'vllm', image: 'i', imageID: 'i', ready: false, restartCount: 0 };
  if (state === 'waiting') return { ...base, state: { waiting: { reason: 'ContainerCreating' } }, ...more };
  if (state === 'running') return { ...base, state: { running: {} }, ...more };
  return { ...base, state: { terminated: { exitCode: state } }, ...more };
}

function status(observed: Partial<ObservedPod>, restartPolicy = 'Always') {
  const pod: V1Pod = { spec: { containers: [], restartPolicy } };
  return podStatus({
    pod,
    initContainers: [],
    containers: [],
    podIP: '10.244.0.2',
    hostIP: '10.244.0.1',
    startTime: earlier,
    conditions: [],
    over: false,
    now,
    ...observed,
  });
}

const crashed = { lastState: { terminated: { exitCode: 2 } } };

describe('phase of a pod', () => {
  const phase = (containers: V1ContainerStatus[], policy?: string, over = false) =>
    status({ containers, over }, policy).phase;

  it('is Pending until every container was created', () => {
    assert.equal(phase([container('waiting')]), 'Pending');
    assert.equal(phase([container('running'), container('waiting')]), 'Pending');
    assert.equal(phase([container('running')]), 'Running');
  });

  it('stays Running while a container waits for its next start', () => {
    assert.equal(phase([container('waiting', crashed)]), 'Running');
    assert.equal(phase([container(2)]), 'Running');
    assert.equal(phase([container(2)], 'OnFailure'), 'Running');
  });

  it('ends by the policy, or with the deletion', () => {
    assert.equal(phase([container(0)], 'OnFailure'), 'Succeeded');
    assert.equal(phase([container(0), container(1)], 'Never'), 'Failed');
    assert.equal(phase([container(0)], 'Always', true), 'Succeeded');
    assert.equal(phase([container(137)], 'Always', true), 'Failed');
  });

  it('is Pending during initialisation and Failed when that failed for good', () => {
    const containers = [container('waiting')];
    assert.equal(status({ initContainers: [container('running')], containers }).phase, 'Pending');
    assert.equal(status({ initContainers: [container(1)], containers }).phase, 'Pending');
    assert.equal(status({ initContainers: [container(1)], containers }, 'Never').phase, 'Failed');
  });
});

describe('conditions of a pod', () => {
  const condition = (type: string, observed: Partial<ObservedPod>) =>
    status(observed).conditions?.find((each) => each.type === type);

  it('are ready when every container is, with the containers named that are not', () => {
    const ready = container('running', { ready: true });
    const unready = container('running', { name: 'other' });
    assert.equal(condition('Ready', { containers: [ready] })?.status, 'True');
    assert.deepEqual(condition('Ready', { containers: [ready, unready] }), {
      type: 'Ready',
      status: 'False',
      reason: 'ContainersNotReady',
      message: 'containers with unready status: [other]',
      lastTransitionTime: now,
    });
    assert.equal(condition('ContainersReady', { containers: [unready] })?.status, 'False');
  });

  it('keep the time of their last change', () => {
    const containers = [container('running', { ready: true })];
    const before = (value: string) => [{ type: 'Ready', status: value, lastTransitionTime: earlier }];
    assert.equal(condition('Ready', { containers, conditions: before('True') })?.lastTransitionTime, earlier);
    assert.equal(condition('Ready', { containers, conditions: before('False') })?.lastTransitionTime, now);
  });

  it('are not ready at the end', () => {
    assert.equal(condition('Ready', { containers: [container(0)], over: true })?.reason, 'PodCompleted');
    assert.equal(condition('Ready', { containers: [container(1)], over: true })?.reason, 'PodFailed');
  });

  it('say that the pod has its address', () => {
    assert.equal(condition('PodReadyToStartContainers', {})?.status, 'True');
    const without = status({ podIP: undefined });
    assert.equal(without.podIP, undefined);
    assert.equal(
      without.conditions?.find(({ type }) => type === 'PodReadyToStartContainers')?.status,
      'False',
    );
  });
});
