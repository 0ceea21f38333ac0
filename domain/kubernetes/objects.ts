import { shortDigest } from '../digest.ts';
import { type Serving, servingName, type WantedServing } from '../serving/serving.ts';

/** Any object of the Kubernetes API, as it is sent and as YAML shows it. */
export interface KubernetesObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMetadata;
  /** `spec`, `rules`, … as the kind has them. */
  [section: string]: unknown;
}

export interface ObjectMetadata {
  name: string;
  namespace: string;
  labels: Record<string, string>;
  annotations?: Record<string, string>;
}

/** Field manager of server-side apply: the fields that Slipway sets are its own. */
export const FIELD_MANAGER = 'slipway';

export const labels = {
  managedBy: 'app.kubernetes.io/managed-by',
  component: 'app.kubernetes.io/component',
  name: 'app.kubernetes.io/name',
  /** Short digest of the serving: on every object of it and on its pods. */
  serving: 'slipway.dev/serving',
  /** Of who first asked for the serving: on the objects only, because a change of the pods' labels would restart them. */
  application: 'slipway.dev/application',
  release: 'slipway.dev/release',
  /** Short digest. */
  revision: 'slipway.dev/revision',
} as const;

export const annotations = {
  /** The whole digest, which no label has room for. */
  servingDigest: 'slipway.dev/serving-digest',
  model: 'slipway.dev/model',
  /** The whole id of the release that first asked; the label of that name may be cut. */
  release: 'slipway.dev/release',
} as const;

/** What one serving's pods are selected by; also what every object of it is found by. */
export function servingSelector(digest: string): Record<string, string> {
  return { [labels.serving]: shortDigest(digest) };
}

/** What the objects of all servings are found by, in the syntax of a label selector. */
export const servingsSelector = `${labels.managedBy}=slipway,${labels.component}=serving`;

/** One serving's, in the syntax of a label selector. */
export function selectorOf(digest: string): string {
  return `${servingsSelector},${labels.serving}=${shortDigest(digest)}`;
}

/** The port of the container and of the Service. */
export const PORT = { name: 'http', number: 8000 } as const;

/** The container that runs vLLM. */
export const CONTAINER = 'vllm';

/** Labels of the pods: nothing in them may change while the process stays the same. */
export function podLabels(serving: Pick<Serving, 'digest'>): Record<string, string> {
  return {
    [labels.name]: 'vllm',
    [labels.component]: 'serving',
    [labels.managedBy]: 'slipway',
    ...servingSelector(serving.digest),
  };
}

/** The metadata that every object of a serving has. */
export function metadataOf(
  serving: Pick<WantedServing, 'digest' | 'model' | 'origin'>,
  namespace: string,
): ObjectMetadata {
  const { digest, origin } = serving;
  return {
    name: servingName(digest),
    namespace,
    labels: {
      ...podLabels(serving),
      ...(origin && {
        [labels.application]: labelValue(origin.application),
        [labels.release]: labelValue(origin.release),
        [labels.revision]: shortDigest(origin.revision),
      }),
    },
    annotations: {
      [annotations.servingDigest]: digest,
      [annotations.model]: serving.model.name,
      ...(origin && { [annotations.release]: origin.release }),
    },
  };
}

/** A label takes 63 letters, digits, `-`, `_` and `.`, and begins and ends with a letter or digit; the rest is cut off or becomes `_`. */
export function labelValue(text: string): string {
  return text
    .replace(/[^A-Za-z0-9._-]/g, '_')
    .slice(0, 63)
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '');
}

export interface ServingKind {
  apiVersion: string;
  kind: string;
  /** As in the API's paths and in RBAC rules. */
  plural: string;
  /** API group; empty for the core. */
  group: string;
  /** Its API need not exist in the cluster. */
  optional: boolean;
}

const kindOf = (apiVersion: string, kind: string, plural: string, optional = false): ServingKind => ({
  apiVersion,
  kind,
  plural,
  group: apiVersion.includes('/') ? (apiVersion.split('/')[0] ?? '') : '',
  optional,
});

/**
 * Every kind that a serving may have, in the order in which objects are made; they are removed in the reverse order. What lists or
 * removes servings goes over all of them, whatever the cluster's settings say today.
 */
export const kindsOfServing: readonly ServingKind[] = [
  kindOf('v1', 'ServiceAccount', 'serviceaccounts'),
  kindOf('networking.k8s.io/v1', 'NetworkPolicy', 'networkpolicies'),
  kindOf('v1', 'Service', 'services'),
  kindOf('policy/v1', 'PodDisruptionBudget', 'poddisruptionbudgets'),
  kindOf('apps/v1', 'Deployment', 'deployments'),
  kindOf('autoscaling/v2', 'HorizontalPodAutoscaler', 'horizontalpodautoscalers'),
  kindOf('keda.sh/v1alpha1', 'ScaledObject', 'scaledobjects', true),
];
