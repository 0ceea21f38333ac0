import type { V1Node, V1NodeCondition, V1NodeStatus, V1Taint } from '@kubernetes/client-node';
import { gpuMemoryGiB } from './gpu.ts';

export interface NodeSpec {
  name: string;
  /** Value of the label `nvidia.com/gpu.product`; without it the node has no GPU. */
  gpuProduct?: string | undefined;
  gpus?: number | undefined;
  /** As Kubernetes counts; 64 and 512Gi by default. */
  cpu?: string | undefined;
  memory?: string | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
  taints?: readonly V1Taint[] | undefined;
}

export const KUBELET_PORT = 10_250;

export function nodeObject(spec: NodeSpec): V1Node {
  const { name, gpuProduct, gpus = 0, labels = {}, taints } = spec;
  const gpuLabels: Record<string, string> =
    gpuProduct === undefined
      ? {}
      : {
          'nvidia.com/gpu.present': 'true',
          'nvidia.com/gpu.product': gpuProduct,
          'nvidia.com/gpu.count': String(gpus),
          'nvidia.com/gpu.memory': String(gpuMemoryGiB(gpuProduct) * 1024),
        };
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'kubernetes.io/hostname': name,
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': 'amd64',
        ...gpuLabels,
        ...labels,
      },
    },
    ...(taints === undefined ? {} : { spec: { taints: [...taints] } }),
  };
}

/** The status that a kubelet reports; `changedAt` is when the node became ready. */
export function nodeStatus(spec: NodeSpec, address: string, changedAt: Date, now: Date): V1NodeStatus {
  const { gpuProduct, gpus = 0, cpu = '64', memory = '512Gi' } = spec;
  const resources: Record<string, string> = {
    cpu,
    memory,
    pods: '110',
    'ephemeral-storage': '1Ti',
    ...(gpuProduct === undefined ? {} : { 'nvidia.com/gpu': String(gpus) }),
  };
  const condition = (type: string, status: string, reason: string, message: string): V1NodeCondition => ({
    type,
    status,
    reason,
    message,
    lastHeartbeatTime: now,
    lastTransitionTime: changedAt,
  });
  return {
    capacity: resources,
    allocatable: resources,
    addresses: [{ type: 'InternalIP', address }],
    daemonEndpoints: { kubeletEndpoint: { Port: KUBELET_PORT } },
    conditions: [
      condition(
        'MemoryPressure',
        'False',
        'KubeletHasSufficientMemory',
        'kubelet has sufficient memory available',
      ),
      condition('DiskPressure', 'False', 'KubeletHasNoDiskPressure', 'kubelet has no disk pressure'),
      condition('PIDPressure', 'False', 'KubeletHasSufficientPID', 'kubelet has sufficient PID available'),
      condition('Ready', 'True', 'KubeletReady', 'kubelet is posting ready status'),
    ],
    nodeInfo: {
      architecture: 'amd64',
      bootID: '',
      containerRuntimeVersion: 'simulator://1',
      kernelVersion: '',
      kubeProxyVersion: '',
      kubeletVersion: 'v1.34.4',
      machineID: '',
      operatingSystem: 'linux',
      osImage: 'simulated',
      systemUUID: '',
    },
  };
}
