import { kindsOfServing } from '../../../domain/kubernetes/objects.ts';

/** Verbs on a resource that the adapter uses. */
export interface Permission {
  /** Empty for the core. */
  group: string;
  /** Plural, with a subresource: `pods/log`. */
  resource: string;
  verbs: readonly string[];
  /** Of the whole cluster; else of the servings' namespace. */
  clusterWide: boolean;
  /** Without it nothing can be served; what is not needed only makes explanations better. */
  needed: boolean;
}

const ofNamespace = (group: string, resource: string, verbs: string[], needed: boolean): Permission => ({
  group,
  resource,
  verbs,
  clusterWide: false,
  needed,
});
const ofCluster = (group: string, resource: string, verbs: string[]): Permission => ({
  group,
  resource,
  verbs,
  clusterWide: true,
  needed: false,
});

/**
 * Everything that the adapter ever asks of the API server; roles are made from this list. Secrets are not in it: whoever may get one may
 * read it. Where a role lets it get those of the cluster's settings, it looks whether they exist, at their metadata alone.
 */
export const neededPermissions: readonly Permission[] = [
  // Server-side apply is a patch, and a creation where there is nothing yet. Objects are read as lists only.
  ...kindsOfServing.map(({ group, plural }) =>
    ofNamespace(
      group,
      plural,
      plural === 'deployments'
        ? ['list', 'watch', 'create', 'patch', 'delete']
        : ['list', 'create', 'patch', 'delete'],
      true,
    ),
  ),
  ofNamespace('apps', 'replicasets', ['list', 'delete'], true),
  ofNamespace('', 'pods', ['list', 'watch', 'delete'], true),
  ofNamespace('', 'pods/log', ['get'], false),
  ofNamespace('', 'events', ['list'], false),
  ofNamespace('', 'resourcequotas', ['list'], false),
  ofNamespace('', 'persistentvolumeclaims', ['get'], false),
  ofCluster('', 'nodes', ['list']),
  ofCluster('', 'pods', ['list']),
  ofCluster('node.k8s.io', 'runtimeclasses', ['get']),
  ofCluster('scheduling.k8s.io', 'priorityclasses', ['get']),
];
