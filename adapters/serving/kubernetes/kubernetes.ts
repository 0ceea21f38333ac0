import type { KubeConfig } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { ClusterSettings } from '../../../domain/kubernetes/settings.ts';
import { createKubernetesClient } from '../../kubernetes/client.ts';
import type { ServingAdapter } from '../adapter.ts';
import { applyServing } from './apply.ts';
import { createChanges } from './changes.ts';
import { checkServing } from './check.ts';
import type { Cluster } from './context.ts';
import { listServings } from './list.ts';
import { observeServing } from './observe.ts';
import { removeServing } from './remove.ts';

export interface KubernetesServingOptions {
  /** The cluster and who asks; see loadKubeConfig. */
  kubeConfig: KubeConfig;
  settings: ClusterSettings;
  log: Logger;
}

export interface KubernetesServing extends ServingAdapter {
  /** Ends its watch at once; without it the watch ends a while after nobody waits any more. */
  close(): void;
}

/** Servings as Deployments of a Kubernetes cluster, in the namespace of its settings; nothing is remembered but what the API server has. */
export function createKubernetesServing({
  kubeConfig,
  settings,
  log,
}: KubernetesServingOptions): KubernetesServing {
  const cluster: Cluster = { client: createKubernetesClient(kubeConfig), settings, log };
  const changes = createChanges(cluster, kubeConfig);
  return {
    apply: (serving) => applyServing(cluster, serving),
    observe: (digest) => {
      changes.looking(digest);
      return observeServing(cluster, digest);
    },
    changed: changes.changed,
    remove: (digest) => removeServing(cluster, digest),
    list: () => listServings(cluster),
    check: (serving, replicas) => checkServing(cluster, serving, replicas),
    close: changes.close,
  };
}
