import type { Logger } from 'pino';
import { SlipwayError } from '../../../domain/errors.ts';
import { kindsOfServing, type ServingKind } from '../../../domain/kubernetes/objects.ts';
import type { ClusterSettings } from '../../../domain/kubernetes/settings.ts';
import type { KubernetesClient } from '../../kubernetes/client.ts';
import type { AnyObject } from '../../kubernetes/objects.ts';
import type { Place, Resource } from '../../kubernetes/resources.ts';

/** What every part of the adapter works with. */
export interface Cluster {
  client: KubernetesClient;
  settings: ClusterSettings;
  log: Logger;
}

/** ReplicaSets belong to a Deployment and go with it, unless somebody removed it alone. */
export const replicaSets = { apiVersion: 'apps/v1', kind: 'ReplicaSet', plural: 'replicasets' };

export interface FoundObject {
  resource: Resource;
  object: AnyObject;
}

/**
 * The objects that a selector finds, of every kind that a serving may have, in the order in which they are made. What another object
 * controls (KEDA gives its ScaledObject's labels to the autoscaler that it makes) is that one's to remove.
 */
export async function findObjects(
  { client, settings }: Cluster,
  labelSelector: string,
): Promise<FoundObject[]> {
  const kinds: Resource[] = [...kindsOfServing, replicaSets];
  const lists = await Promise.all(
    kinds.map(async (resource) => {
      const { namespace } = settings;
      const { items } = await client.list<AnyObject>(resource, { namespace, labelSelector });
      const own = items.filter((object) => resource === replicaSets || !isControlled(object));
      return own.map((object) => ({ resource, object }));
    }),
  );
  return lists.flat();
}

const isControlled = ({ metadata }: AnyObject): boolean =>
  metadata.ownerReferences?.some(({ controller }) => controller === true) ?? false;

/** It was made to go by itself when the last of the serving's pods has gone; see remove.ts. */
export const goesWithPods = ({ metadata }: AnyObject): boolean =>
  metadata.ownerReferences?.some(({ kind }) => kind === 'Pod') ?? false;

export const isKind = ({ resource }: FoundObject, kind: ServingKind['kind']): boolean =>
  resource.kind === kind;

/** What only makes messages better: without the permission there is none of it. */
export async function ifAllowed<T, E>(look: Promise<T>, otherwise: E): Promise<T | E> {
  try {
    return await look;
  } catch (error) {
    if (error instanceof SlipwayError && error.code === 'FORBIDDEN') return otherwise;
    throw error;
  }
}

/** The extended resources under which this cluster's nodes offer GPUs. */
export function gpuResourcesOf({ gpus }: ClusterSettings): string[] {
  return [...new Set(Object.values(gpus).map(({ resource }) => resource))];
}

export const placeOf = ({ metadata }: AnyObject): Place => ({
  namespace: metadata.namespace,
  name: metadata.name,
});
