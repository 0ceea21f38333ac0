import { join } from 'node:path';
import type { KubeConfig } from '@kubernetes/client-node';
import type { ServingObservation } from '../../../adapters/serving/adapter.ts';
import {
  createKubernetesServing,
  type KubernetesServing,
} from '../../../adapters/serving/kubernetes/kubernetes.ts';
import { neededPermissions, type Permission } from '../../../adapters/serving/kubernetes/permissions.ts';
import { type ClusterSettings, defaultClusterSettings } from '../../../domain/kubernetes/settings.ts';
import type { NodeSpec } from '../../../simulator/nodes/node-object.ts';
import { type NodesOptions, type RunningNodes, startNodes } from '../../../simulator/nodes/nodes.ts';
import { startKubernetes, type TestKubernetes } from '../../support/kubernetes.ts';
import { silentLog } from '../../support/log.ts';
import { PATIENCE_MS } from '../../support/patience.ts';
import { inState, until } from '../../support/servings.ts';
import { temporaryFolder } from '../../support/stack.ts';

export const IMAGE = `vllm/vllm-openai@sha256:${'0'.repeat(64)}`;

/** A cluster's settings with quick ends and replicas that fit a small node. */
export function settingsFor(namespace: string, changes: Partial<ClusterSettings> = {}): ClusterSettings {
  return {
    ...defaultClusterSettings,
    namespace,
    image: IMAGE,
    resources: { cpu: '1', memory: '32Gi' },
    sharedMemory: '1Gi',
    modelCache: { emptyDir: '10Gi' },
    gpus: {
      'A100-80GB': {
        resource: 'nvidia.com/gpu',
        nodeSelector: { 'nvidia.com/gpu.product': 'A100-80GB' },
        tolerations: [],
      },
    },
    drain: 0,
    startup: 30_000,
    ...changes,
  };
}

export interface Bench {
  kubernetes: TestKubernetes;
  /** Who has the adapter's permissions in the namespace and no others, less those that a test takes away. */
  restricted(namespace: string, without?: (permission: Permission) => Permission | null): Promise<KubeConfig>;
  adapter(
    namespace: string,
    changes?: Partial<ClusterSettings>,
    config?: KubeConfig,
  ): Promise<KubernetesServing>;
  stop(): Promise<void>;
}

/** A control plane of its own with simulated GPU nodes. */
export async function startBench(
  nodes: readonly NodeSpec[],
  options: Partial<NodesOptions> = {},
): Promise<Bench> {
  const folder = temporaryFolder();
  const kubernetes = await startKubernetes({ own: true });
  const running: RunningNodes | null =
    nodes.length === 0
      ? null
      : await startNodes({
          kubeConfig: kubernetes.admin,
          nodes,
          stateFolder: join(folder.path, 'nodes'),
          environment: { SIMULATOR_SPEED: '20' },
          backoff: { baseMs: 200 },
          pullMs: 20,
          ...options,
        });
  const adapters: KubernetesServing[] = [];
  let users = 0;
  const restricted: Bench['restricted'] = async (namespace, without = (permission) => permission) => {
    const user = `worker-${users++}`;
    const granted = neededPermissions.flatMap((permission) => without(permission) ?? []);
    await grant(kubernetes, user, namespace, granted);
    return kubernetes.asUser(user);
  };
  return {
    kubernetes,
    restricted,
    adapter: async (namespace, changes = {}, config) => {
      const adapter = createKubernetesServing({
        kubeConfig: config ?? (await restricted(namespace)),
        settings: settingsFor(namespace, changes),
        log: silentLog,
      });
      adapters.push(adapter);
      return adapter;
    },
    stop: async () => {
      for (const adapter of adapters) adapter.close();
      await running?.stop();
      await kubernetes.stop();
      folder.remove();
    },
  };
}

async function grant(
  { admin }: TestKubernetes,
  user: string,
  namespace: string,
  permissions: readonly Permission[],
): Promise<void> {
  const { RbacAuthorizationV1Api } = await import('@kubernetes/client-node');
  const rbac = admin.makeApiClient(RbacAuthorizationV1Api);
  const rules = (clusterWide: boolean) =>
    permissions
      .filter((permission) => permission.clusterWide === clusterWide)
      .map(({ group, resource, verbs }) => ({
        apiGroups: [group],
        resources: [resource],
        verbs: [...verbs],
      }));
  const subjects = [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: user }];
  const refTo = (kind: string) => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name: user });
  const metadata = { name: user };
  await rbac.createNamespacedRole({ namespace, body: { metadata, rules: rules(false) } });
  await rbac.createNamespacedRoleBinding({ namespace, body: { metadata, subjects, roleRef: refTo('Role') } });
  await rbac.createClusterRole({ body: { metadata, rules: rules(true) } });
  await rbac.createClusterRoleBinding({ body: { metadata, subjects, roleRef: refTo('ClusterRole') } });
}

/** Follows a serving's changes, as the product does, until it is in the state. */
export async function followed(
  adapter: KubernetesServing,
  digest: string,
  state: ServingObservation['state'],
): Promise<ServingObservation> {
  const over = AbortSignal.timeout(PATIENCE_MS);
  for (;;) {
    const seen = await adapter.observe(digest);
    if (seen.state === state) return seen;
    if (over.aborted) throw new Error(`not ${state}: ${JSON.stringify(seen)}`);
    await adapter.changed(digest, over);
  }
}

export const untilState = (
  adapter: KubernetesServing,
  digest: string,
  state: ServingObservation['state'],
): Promise<ServingObservation> => until(state, () => adapter.observe(digest), inState(state));
