import type { WantedServing } from '../serving/serving.ts';
import { type KubernetesObject, metadataOf } from './objects.ts';
import type { ClusterSettings } from './settings.ts';

/** An account without permissions and without a token in its pods: a model's server has nothing to ask of the cluster. */
export function serviceAccount(serving: WantedServing, settings: ClusterSettings): KubernetesObject {
  return {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: metadataOf(serving, settings.namespace),
    automountServiceAccountToken: false,
    ...(settings.imagePullSecrets.length > 0 && {
      imagePullSecrets: settings.imagePullSecrets.map((name) => ({ name })),
    }),
  };
}
