import { type KubeConfig, RbacAuthorizationV1Api } from '@kubernetes/client-node';
import type { TestKubernetes } from '../../support/kubernetes.ts';

/** Who gateways of a namespace are before anything is granted to them. */
export const gatewayUser = (kubernetes: TestKubernetes, namespace: string): KubeConfig =>
  kubernetes.asUser(`gateway-of-${namespace}`);

/** The same, who may now follow EndpointSlices, and nothing else: what the chart's role grants. */
export async function grantedGatewayUser(kubernetes: TestKubernetes, namespace: string): Promise<KubeConfig> {
  const name = `gateway-of-${namespace}`;
  const rbac = kubernetes.admin.makeApiClient(RbacAuthorizationV1Api);
  const apiGroup = 'rbac.authorization.k8s.io';
  await rbac.createNamespacedRole({
    namespace,
    body: {
      metadata: { name },
      rules: [{ apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list', 'watch'] }],
    },
  });
  await rbac.createNamespacedRoleBinding({
    namespace,
    body: {
      metadata: { name },
      roleRef: { apiGroup, kind: 'Role', name },
      subjects: [{ apiGroup, kind: 'User', name }],
    },
  });
  return gatewayUser(kubernetes, namespace);
}
