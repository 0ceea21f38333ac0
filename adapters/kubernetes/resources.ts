/** A kind of the Kubernetes API, as its paths name it. */
export interface Resource {
  apiVersion: string;
  kind: string;
  plural: string;
}

/** Kinds that are looked at; those that a serving is made of are the domain's (kindsOfServing). */
export const resources = {
  pods: { apiVersion: 'v1', kind: 'Pod', plural: 'pods' },
  events: { apiVersion: 'v1', kind: 'Event', plural: 'events' },
  nodes: { apiVersion: 'v1', kind: 'Node', plural: 'nodes' },
  secrets: { apiVersion: 'v1', kind: 'Secret', plural: 'secrets' },
  resourceQuotas: { apiVersion: 'v1', kind: 'ResourceQuota', plural: 'resourcequotas' },
  claims: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', plural: 'persistentvolumeclaims' },
  deployments: { apiVersion: 'apps/v1', kind: 'Deployment', plural: 'deployments' },
  endpointSlices: { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', plural: 'endpointslices' },
  runtimeClasses: { apiVersion: 'node.k8s.io/v1', kind: 'RuntimeClass', plural: 'runtimeclasses' },
  priorityClasses: { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', plural: 'priorityclasses' },
  accessReviews: {
    apiVersion: 'authorization.k8s.io/v1',
    kind: 'SelfSubjectAccessReview',
    plural: 'selfsubjectaccessreviews',
  },
} as const satisfies Record<string, Resource>;

/** Where in a resource: one object by its name, or all of a namespace; without a namespace those of the cluster. */
export interface Place {
  namespace?: string | undefined;
  name?: string | undefined;
}

/** Path under the server's address, e.g. `/apis/apps/v1/namespaces/slipway/deployments/slipway-0123`. */
export function pathOf({ apiVersion, plural }: Resource, { namespace, name }: Place): string {
  const parts = [apiVersion.includes('/') ? '/apis' : '/api', apiVersion];
  if (namespace !== undefined) parts.push('namespaces', encodeURIComponent(namespace));
  parts.push(plural);
  if (name !== undefined) parts.push(encodeURIComponent(name));
  return parts.join('/');
}

/** API group; empty for the core. */
export function groupOf(apiVersion: string): string {
  return apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '';
}
