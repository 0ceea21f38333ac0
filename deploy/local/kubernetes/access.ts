import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  CoreV1Api,
  type KubeConfig,
  type KubernetesObject,
  KubernetesObjectApi,
  PatchStrategy,
} from '@kubernetes/client-node';
import { parse } from 'yaml';

/** The chart's own rules: what runs here may do no more than what runs in a cluster. */
const RULES = fileURLToPath(new URL('../../helm/slipway/files/', import.meta.url));

/** A token's life on a machine of one's own; nobody renews it. */
const TOKEN_SECONDS = 30 * 24 * 3600;

export const API_KEY_SECRET = { name: 'vllm-api-key', key: 'key' } as const;

const rulesIn = (file: string): unknown => parse(readFileSync(`${RULES}${file}`, 'utf8'));

type Made = KubernetesObject & Record<string, unknown>;

function accessOf(namespace: string, account: string, rules: unknown, clusterRules?: unknown): Made[] {
  const name = `slipway-${account}`;
  const subjects = [{ kind: 'ServiceAccount', name, namespace }];
  const group = 'rbac.authorization.k8s.io';
  const apiVersion = `${group}/v1`;
  const metadata = { name, namespace };
  const made: Made[] = [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    { apiVersion, kind: 'Role', metadata, rules },
    { apiVersion, kind: 'RoleBinding', metadata, roleRef: { apiGroup: group, kind: 'Role', name }, subjects },
  ];
  if (clusterRules === undefined) return made;
  return [
    ...made,
    { apiVersion, kind: 'ClusterRole', metadata: { name }, rules: clusterRules },
    {
      apiVersion,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: group, kind: 'ClusterRole', name },
      subjects,
    },
  ];
}

export interface LocalAccess {
  /** Tokens of the ServiceAccounts. */
  worker: string;
  gateway: string;
  /** What vLLM asks of its callers. */
  apiKey: string;
}

/** Makes the namespace, the accounts of worker and gateway with the chart's rights, and vLLM's key; what is there stays. */
export async function ensureAccess(admin: KubeConfig, namespace: string): Promise<LocalAccess> {
  const objects = KubernetesObjectApi.makeApiClient(admin);
  const core = admin.makeApiClient(CoreV1Api);
  const apply = async (object: KubernetesObject): Promise<void> => {
    const strategy = PatchStrategy.ServerSideApply;
    await objects.patch(object, undefined, undefined, 'slipway-local', true, strategy);
  };
  await apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  for (const object of [
    ...accessOf(namespace, 'worker', rulesIn('worker-rules.yaml'), rulesIn('worker-cluster-rules.yaml')),
    ...accessOf(namespace, 'gateway', rulesIn('gateway-rules.yaml')),
  ]) {
    await apply(object);
  }
  const tokenOf = async (account: string): Promise<string> => {
    const { status } = await core.createNamespacedServiceAccountToken({
      namespace,
      name: `slipway-${account}`,
      body: { spec: { audiences: [], expirationSeconds: TOKEN_SECONDS } },
    });
    return status?.token ?? '';
  };
  return {
    worker: await tokenOf('worker'),
    gateway: await tokenOf('gateway'),
    apiKey: await ensureApiKey(core, namespace),
  };
}

async function ensureApiKey(core: CoreV1Api, namespace: string): Promise<string> {
  const { name, key } = API_KEY_SECRET;
  const { items } = await core.listNamespacedSecret({ namespace, fieldSelector: `metadata.name=${name}` });
  const kept = items[0]?.data?.[key];
  if (kept !== undefined) return Buffer.from(kept, 'base64').toString();
  const made = randomBytes(24).toString('base64url');
  await core.createNamespacedSecret({ namespace, body: { metadata: { name }, stringData: { [key]: made } } });
  return made;
}
