import { annotations, labels, servingsSelector } from '../../../domain/kubernetes/objects.ts';
import type { AnyObject, Deployment, Pod } from '../../kubernetes/objects.ts';
import { resources } from '../../kubernetes/resources.ts';
import type { ServingObservation } from '../adapter.ts';
import { type Cluster, type FoundObject, findObjects, gpuResourcesOf, isKind } from './context.ts';
import { observationOf } from './observation.ts';

/** Every serving of which anything is left, found by labels alone; why one is not ready is for `observe` to say. */
export async function listServings(cluster: Cluster): Promise<ServingObservation[]> {
  const { client, settings } = cluster;
  const [found, { items: pods }] = await Promise.all([
    findObjects(cluster, servingsSelector),
    client.list<Pod>(resources.pods, { namespace: settings.namespace, labelSelector: servingsSelector }),
  ]);
  const keys = new Set([...found.map(({ object }) => keyOf(object)), ...pods.map(keyOf)]);
  keys.delete('');
  const gpuResources = gpuResourcesOf(settings);
  return [...keys].sort().map((key) => {
    const own = found.filter(({ object }) => keyOf(object) === key);
    return observationOf(
      digestOf(key, own),
      {
        deployment: (own.find((one) => isKind(one, 'Deployment'))?.object as Deployment | undefined) ?? null,
        pods: pods.filter((pod) => keyOf(pod) === key),
        others: own.filter((one) => !isKind(one, 'Deployment')).map(({ object }) => object),
        gpuResources,
      },
      null,
    );
  });
}

/** The short digest. */
const keyOf = ({ metadata }: AnyObject): string => metadata.labels?.[labels.serving] ?? '';

/** The whole digest stands in an annotation of every object; pods have none, and then the short one must do: names and labels take it. */
function digestOf(key: string, found: readonly FoundObject[]): string {
  const known = found.flatMap(({ object }) => object.metadata.annotations?.[annotations.servingDigest] ?? []);
  return known[0] ?? `sha256:${key}`;
}
