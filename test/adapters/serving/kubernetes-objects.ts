import type {
  Condition,
  Deployment,
  KubernetesEvent,
  Metadata,
  Node,
  Pod,
} from '../../../adapters/kubernetes/objects.ts';

const AT = '2026-11-21T12:00:00Z';

const metadata = (name: string): Metadata => ({
  name,
  uid: `uid-${name}`,
  resourceVersion: '1',
  creationTimestamp: AT,
});

export function deployment(changes: Partial<Deployment> = {}, conditions: Condition[] = []): Deployment {
  return {
    metadata: metadata('slipway-1'),
    spec: { replicas: 1, template: { spec: { containers: [] } } },
    status: { conditions },
    ...changes,
  };
}

type ContainerStatus = NonNullable<NonNullable<Pod['status']>['containerStatuses']>[number];

/** A pod with a node and one GPU, whose container is as told. */
export function pod(
  container: Partial<ContainerStatus> = {},
  status: Partial<Pod['status']> = {},
  spec: Partial<Pod['spec']> = {},
): Pod {
  return {
    metadata: metadata('pod-1'),
    spec: {
      nodeName: 'gpu-1',
      containers: [
        { name: 'vllm', image: 'vllm@sha256:0', resources: { requests: { 'nvidia.com/gpu': '1' } } },
      ],
      ...spec,
    },
    status: {
      phase: 'Running',
      startTime: AT,
      podIP: '10.0.0.1',
      conditions: [{ type: 'Ready', status: 'False', lastTransitionTime: AT }],
      containerStatuses: [
        { name: 'vllm', ready: false, started: false, restartCount: 0, state: { running: {} }, ...container },
      ],
      ...status,
    },
  };
}

export const readyPod = (changes: Partial<Pod['status']> = {}): Pod =>
  pod({ ready: true, started: true }, { conditions: [{ type: 'Ready', status: 'True' }], ...changes });

export const pendingPod = (message: string): Pod => {
  const { nodeName: _, ...spec } = pod().spec;
  return {
    ...pod(),
    spec,
    status: {
      phase: 'Pending',
      conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message }],
    },
  };
};

export function event(
  reason: string,
  message: string,
  changes: Partial<KubernetesEvent> = {},
): KubernetesEvent {
  return {
    metadata: metadata(`event-${reason}`),
    type: 'Warning',
    reason,
    message,
    count: 1,
    lastTimestamp: AT,
    involvedObject: { kind: 'Pod', name: 'pod-1', uid: 'uid-pod-1' },
    ...changes,
  };
}

export function node(name: string, gpus: number, changes: Partial<Node> = {}): Node {
  return {
    metadata: { ...metadata(name), labels: { 'nvidia.com/gpu.product': 'A100' } },
    spec: {},
    status: {
      allocatable: { 'nvidia.com/gpu': String(gpus) },
      conditions: [{ type: 'Ready', status: 'True' }],
    },
    ...changes,
  };
}
