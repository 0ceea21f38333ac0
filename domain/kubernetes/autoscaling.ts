import { maximumOf } from '../serving/scaling.ts';
import { servingName, type WantedServing } from '../serving/serving.ts';
import { type KubernetesObject, metadataOf } from './objects.ts';
import type { ClusterSettings } from './settings.ts';

/** The API's longest window, in seconds. */
const MAX_WINDOW_SECONDS = 3600;

/** Does an autoscaler of the cluster own the number of replicas? A serving that is to have none is out of its reach. */
export function isAutoscaled({ scaling, replicas }: WantedServing): boolean {
  return scaling.by === 'autoscaler' && replicas > 0;
}

/** KEDA's object where its API exists and Prometheus is known to it, else the cluster's own; nothing where Slipway scales itself. */
export function autoscaler(
  serving: WantedServing,
  settings: ClusterSettings,
  { keda }: { keda: boolean },
): KubernetesObject[] {
  if (!isAutoscaled(serving)) return [];
  const { prometheusUrl } = settings.autoscaling;
  return [
    keda && prometheusUrl !== null
      ? scaledObject(serving, settings, prometheusUrl)
      : horizontalPodAutoscaler(serving, settings),
  ];
}

/** The most replicas that the policy and its cost allow; never fewer than the floor, which users need. */
export function mostReplicas({ replicas, runtime, scaling }: WantedServing): number {
  return Math.max(replicas, maximumOf(runtime, scaling));
}

function horizontalPodAutoscaler(serving: WantedServing, settings: ClusterSettings): KubernetesObject {
  const { metric, waitingRequests } = settings.autoscaling;
  return {
    apiVersion: 'autoscaling/v2',
    kind: 'HorizontalPodAutoscaler',
    metadata: metadataOf(serving, settings.namespace),
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: servingName(serving.digest) },
      minReplicas: serving.replicas,
      maxReplicas: mostReplicas(serving),
      metrics: [
        {
          type: 'Pods',
          pods: {
            metric: { name: metric },
            target: { type: 'AverageValue', averageValue: quantity(waitingRequests) },
          },
        },
      ],
      behavior: behavior(serving),
    },
  };
}

function scaledObject(
  serving: WantedServing,
  settings: ClusterSettings,
  serverAddress: string,
): KubernetesObject {
  const name = servingName(serving.digest);
  return {
    apiVersion: 'keda.sh/v1alpha1',
    kind: 'ScaledObject',
    metadata: metadataOf(serving, settings.namespace),
    spec: {
      scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name },
      minReplicaCount: serving.replicas,
      maxReplicaCount: mostReplicas(serving),
      advanced: { horizontalPodAutoscalerConfig: { behavior: behavior(serving) } },
      triggers: [
        {
          type: 'prometheus',
          metricType: 'AverageValue',
          metadata: {
            serverAddress,
            query: `sum(vllm:num_requests_waiting{namespace="${settings.namespace}",pod=~"${name}-.+"})`,
            threshold: String(settings.autoscaling.waitingRequests),
            // Nothing scraped is an error, at which the number stays; a zero would shrink a serving that nobody can see.
            ignoreNullValues: 'false',
          },
        },
      ],
    },
  };
}

/** Up as fast as replicas load, down one by one, after as long a calm as the policy wants. */
function behavior({ scaling }: WantedServing): Record<string, unknown> {
  return {
    scaleUp: {
      stabilizationWindowSeconds: 0,
      policies: [{ type: 'Percent', value: 100, periodSeconds: 60 }],
      selectPolicy: 'Max',
    },
    scaleDown: {
      stabilizationWindowSeconds: Math.min(MAX_WINDOW_SECONDS, Math.ceil(scaling.shrinkAfter / 1000)),
      policies: [{ type: 'Pods', value: 1, periodSeconds: 60 }],
      selectPolicy: 'Max',
    },
  };
}

/** As the API itself writes it: thousandths are `m`. */
function quantity(value: number): string {
  return Number.isInteger(value) ? String(value) : `${Math.ceil(value * 1000)}m`;
}
