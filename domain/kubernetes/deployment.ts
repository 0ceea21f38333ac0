import type { WantedServing } from '../serving/serving.ts';
import { isAutoscaled } from './autoscaling.ts';
import { type KubernetesObject, metadataOf, servingSelector } from './objects.ts';
import { podTemplate, seconds } from './pod.ts';
import type { ClusterSettings } from './settings.ts';

export function deployment(serving: WantedServing, settings: ClusterSettings): KubernetesObject {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadataOf(serving, settings.namespace),
    spec: {
      // An autoscaler's number must not be overwritten by the next apply.
      ...(!isAutoscaled(serving) && { replicas: serving.replicas }),
      selector: { matchLabels: servingSelector(serving.digest) },
      strategy: { type: 'RollingUpdate', rollingUpdate: rollingUpdate(serving) },
      // A serving's process never changes (its digest would), so there is nothing to go back to but the settings before the last.
      revisionHistoryLimit: 1,
      progressDeadlineSeconds: seconds(settings.progressDeadline),
      template: podTemplate(serving, settings),
    },
  };
}

/**
 * Pods change only when the cluster's settings do. GPUs are scarce, so replicas are replaced one after the other on the GPUs that they
 * have. A single replica cannot: its successor comes first and needs GPUs of its own; while there are none, the old one goes on.
 */
function rollingUpdate({ replicas }: WantedServing): { maxSurge: number; maxUnavailable: number } {
  return replicas > 1 ? { maxSurge: 0, maxUnavailable: 1 } : { maxSurge: 1, maxUnavailable: 0 };
}
