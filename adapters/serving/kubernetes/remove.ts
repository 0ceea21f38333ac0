import { selectorOf } from '../../../domain/kubernetes/objects.ts';
import { servingName } from '../../../domain/serving/serving.ts';
import { type AnyObject, hasEnded, isTerminating, type Pod } from '../../kubernetes/objects.ts';
import { resources } from '../../kubernetes/resources.ts';
import { type Cluster, findObjects, goesWithPods, isKind, placeOf } from './context.ts';

/** Field manager of what is changed while a serving goes. */
const REMOVAL_MANAGER = 'slipway-removal';

/**
 * Removes every object that carries the serving's labels, the last that was made first, and nothing else: objects are found by their
 * labels and deleted by their uid. Pods end in their own time and need no further help. Until then the network policy keeps guarding them:
 * it becomes theirs, so that it is collected with the last of them.
 */
export async function removeServing(cluster: Cluster, digest: string): Promise<void> {
  const { client, settings, log } = cluster;
  const { namespace } = settings;
  const labelSelector = selectorOf(digest);
  const found = await findObjects(cluster, labelSelector);
  const hasDeployment = found.some((one) => isKind(one, 'Deployment'));
  for (const { resource, object } of found.toReversed()) {
    const isReplicaSet = resource.kind === 'ReplicaSet';
    // Those of a Deployment go with it.
    if (isTerminating(object) || resource.kind === 'NetworkPolicy' || (isReplicaSet && hasDeployment))
      continue;
    const runsPods = isReplicaSet || resource.kind === 'Deployment';
    await client.remove(resource, placeOf(object), {
      propagation: runsPods ? 'foreground' : 'background',
      uid: object.metadata.uid,
    });
  }
  const { items: pods } = await client.list<Pod>(resources.pods, { namespace, labelSelector });
  for (const pod of pods) {
    const isAlone = (pod.metadata.ownerReferences ?? []).length === 0;
    if (isAlone && !isTerminating(pod))
      await client.remove(resources.pods, placeOf(pod), { uid: pod.metadata.uid });
  }
  for (const one of found.filter((each) => isKind(each, 'NetworkPolicy') && !isTerminating(each.object))) {
    await removeWith(
      cluster,
      one.object,
      pods.filter((pod) => !hasEnded(pod)),
    );
  }
  if (found.length > 0)
    log.debug({ serving: servingName(digest), objects: found.length }, 'serving being removed');
}

async function removeWith({ client }: Cluster, policy: AnyObject, pods: readonly Pod[]): Promise<void> {
  const { name, namespace, uid } = policy.metadata;
  const kind = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', plural: 'networkpolicies' };
  if (pods.length === 0) {
    await client.remove(kind, { namespace, name }, { uid });
    return;
  }
  if (goesWithPods(policy)) return;
  const owners = pods.map((pod) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    name: pod.metadata.name,
    uid: pod.metadata.uid,
  }));
  const owned = {
    apiVersion: kind.apiVersion,
    kind: kind.kind,
    metadata: { name, namespace, uid, ownerReferences: owners },
  };
  await client.apply(kind, { namespace, name }, owned, { fieldManager: REMOVAL_MANAGER });
}
