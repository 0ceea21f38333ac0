import type { WantedServing } from '../serving/serving.ts';
import { type KubernetesObject, metadataOf, servingSelector } from './objects.ts';
import type { ClusterSettings } from './settings.ts';

/**
 * Drains of nodes take one replica at a time. `minAvailable: 1` would keep the node of a single replica from ever being drained; so it
 * may go, and pods that are not ready hold up nothing.
 */
export function disruptionBudget(serving: WantedServing, { namespace }: ClusterSettings): KubernetesObject {
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadataOf(serving, namespace),
    spec: {
      maxUnavailable: 1,
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: servingSelector(serving.digest) },
    },
  };
}
