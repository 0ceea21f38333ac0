import { setTimeout as delay } from 'node:timers/promises';
import {
  AppsV1Api,
  CoreV1Api,
  type CoreV1Event,
  DiscoveryV1Api,
  type KubeConfig,
  type V1Container,
  type V1ContainerStatus,
  type V1Pod,
  type V1PodSpec,
} from '@kubernetes/client-node';
import { PATIENCE_MS } from '../../support/patience.ts';

export const MODEL = 'meta-llama/Llama-3.1-8B-Instruct';

/** Settles with what the function gives once it is truthy. */
export async function eventually<T>(
  what: string,
  look: () => Promise<T>,
): Promise<Exclude<T, false | null | undefined>> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found as Exclude<T, false | null | undefined>;
    if (performance.now() > deadline) throw new Error(`${what}: not after ${PATIENCE_MS / 1000} s`);
    await delay(50);
  }
}

/** vLLM in a container with one GPU and quick probes. */
export function vllm(changes: Partial<V1Container> = {}): V1Container {
  const health = { httpGet: { path: '/health', port: 'http' }, periodSeconds: 1 };
  return {
    name: 'vllm',
    image: 'vllm/vllm-openai:v0.20.0',
    args: [MODEL, '--host', '0.0.0.0', '--port', '8000', '--max-model-len', '8192'],
    ports: [{ name: 'http', containerPort: 8000 }],
    resources: { limits: { 'nvidia.com/gpu': '1' } },
    startupProbe: { ...health, failureThreshold: 60 },
    readinessProbe: { ...health, timeoutSeconds: 5 },
    // A busy machine must not look like a dead container.
    livenessProbe: { ...health, timeoutSeconds: 10, failureThreshold: 6 },
    ...changes,
  };
}

/** What a test does with one namespace. */
export class Workloads {
  readonly core: CoreV1Api;
  readonly apps: AppsV1Api;
  readonly namespace: string;
  #discovery: DiscoveryV1Api;

  constructor(config: KubeConfig, namespace: string) {
    this.namespace = namespace;
    this.core = config.makeApiClient(CoreV1Api);
    this.apps = config.makeApiClient(AppsV1Api);
    this.#discovery = config.makeApiClient(DiscoveryV1Api);
  }

  async createPod(name: string, container: V1Container, spec: Partial<V1PodSpec> = {}): Promise<void> {
    const { namespace } = this;
    const body = { metadata: { name, labels: { app: name } }, spec: { containers: [container], ...spec } };
    await this.core.createNamespacedPod({ namespace, body });
  }

  async createDeployment(name: string, replicas: number, container: V1Container): Promise<void> {
    const { namespace } = this;
    const labels = { app: name };
    const template = { metadata: { labels }, spec: { containers: [container] } };
    const spec = { replicas, selector: { matchLabels: labels }, template };
    await this.apps.createNamespacedDeployment({ namespace, body: { metadata: { name }, spec } });
  }

  async createService(name: string): Promise<void> {
    const { namespace } = this;
    const ports = [{ name: 'http', port: 80, targetPort: 'http' }];
    await this.core.createNamespacedService({
      namespace,
      body: { metadata: { name }, spec: { selector: { app: name }, ports } },
    });
  }

  async pods(app: string): Promise<V1Pod[]> {
    const labelSelector = `app=${app}`;
    return (await this.core.listNamespacedPod({ namespace: this.namespace, labelSelector })).items;
  }

  async pod(name: string): Promise<V1Pod> {
    return this.core.readNamespacedPod({ namespace: this.namespace, name });
  }

  async container(pod: string): Promise<V1ContainerStatus | undefined> {
    return (await this.pod(pod)).status?.containerStatuses?.[0];
  }

  async ready(pod: string): Promise<boolean> {
    return isReady(await this.pod(pod));
  }

  /** Returns when no Deployment and no pod is left; a pod whose node is gone does not hold it up. */
  async removePods(): Promise<void> {
    const { namespace } = this;
    await this.apps.deleteCollectionNamespacedDeployment({ namespace, propagationPolicy: 'Foreground' });
    await eventually('no Deployment is left', async () => {
      const { items } = await this.apps.listNamespacedReplicaSet({ namespace });
      return items.length === 0;
    });
    await this.core.deleteCollectionNamespacedPod({ namespace, gracePeriodSeconds: 0 });
    await eventually(
      'no pod is left',
      async () => (await this.core.listNamespacedPod({ namespace })).items.length === 0,
    );
  }

  /** The addresses in the EndpointSlices of a Service, with their conditions. */
  async endpoints(service: string) {
    const { items } = await this.#discovery.listNamespacedEndpointSlice({
      namespace: this.namespace,
      labelSelector: `kubernetes.io/service-name=${service}`,
    });
    return items.flatMap(({ endpoints }) =>
      (endpoints ?? []).map(({ addresses, conditions }) => ({ address: addresses[0] ?? '', ...conditions })),
    );
  }

  /** `reason: message` of the events of a pod. */
  async events(pod: string): Promise<string[]> {
    const fieldSelector = `involvedObject.name=${pod}`;
    const { items } = await this.core.listNamespacedEvent({ namespace: this.namespace, fieldSelector });
    return items.map(({ reason, message }: CoreV1Event) => `${reason}: ${message}`);
  }

  /** Waits for an event: a kubelet writes them when it comes to it. */
  async hasEvent(pod: string, pattern: RegExp): Promise<void> {
    await eventually(String(pattern), async () =>
      (await this.events(pod)).some((event) => pattern.test(event)),
    );
  }

  log(name: string, previous = false): Promise<string> {
    return this.core.readNamespacedPodLog({ namespace: this.namespace, name, previous, tailLines: 20 });
  }

  async gone(pod: string): Promise<boolean> {
    return this.pod(pod).then(
      () => false,
      (error: { code?: number }) => {
        if (error.code === 404) return true;
        throw error;
      },
    );
  }
}

export function isReady(pod: V1Pod): boolean {
  return pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
}
