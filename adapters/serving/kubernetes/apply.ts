import {
  FIELD_MANAGER,
  type KubernetesObject,
  kindsOfServing,
  selectorOf,
} from '../../../domain/kubernetes/objects.ts';
import { renderServing } from '../../../domain/kubernetes/render.ts';
import { servingName, type WantedServing } from '../../../domain/serving/serving.ts';
import {
  type AnyObject,
  type Deployment,
  hasEnded,
  isReady,
  isTerminating,
  type ManagedFields,
  type Pod,
} from '../../kubernetes/objects.ts';
import { type Resource, resources } from '../../kubernetes/resources.ts';
import { type Cluster, type FoundObject, findObjects, goesWithPods, isKind, placeOf } from './context.ts';
import { observeServing } from './observe.ts';

const keda = kindsOfServing.find(({ kind }) => kind === 'ScaledObject');

/**
 * Makes the serving's objects what they are to be, in their order. What is being removed must be gone first, because an object on its way
 * out takes changes and goes all the same; then this does nothing, and `observe` says that the serving is stopping.
 */
export async function applyServing(cluster: Cluster, serving: WantedServing): Promise<void> {
  const { client, settings, log } = cluster;
  const { digest } = serving;
  const labelSelector = selectorOf(digest);
  const { namespace } = settings;
  const [found, pods] = await Promise.all([
    findObjects(cluster, labelSelector),
    client.list<Pod>(resources.pods, { namespace, labelSelector }),
  ]);
  if (isGoing(found, pods.items)) return;
  const rendered = renderServing(serving, settings, {
    keda: keda !== undefined && (await client.knows(keda)),
  });
  const deployment = found.find((one) => isKind(one, 'Deployment'))?.object as Deployment | undefined;
  if (deployment !== undefined && !(await startAfresh(cluster, deployment, pods.items, digest))) return;
  for (const { resource, object } of found) {
    const stale = isOptional(resource) && !rendered.some(({ kind }) => kind === resource.kind);
    if (stale) await client.remove(resource, placeOf(object), { uid: object.metadata.uid });
  }
  if (deployment !== undefined) await keepReplicas(cluster, deployment, rendered);
  for (const object of rendered) {
    const resource = resourceOf(object);
    const applied = await client.apply<AnyObject>(resource, object.metadata, object, {
      fieldManager: FIELD_MANAGER,
    });
    // Somebody removes it at this moment.
    if (applied === null || isTerminating(applied)) return;
  }
  log.debug({ serving: servingName(digest), objects: rendered.length }, 'serving applied');
}

/** Is a removal under way, or has one left pods that have not ended? */
function isGoing(found: readonly FoundObject[], pods: readonly Pod[]): boolean {
  const sets = found.filter((one) => isKind(one, 'ReplicaSet'));
  const own = found.filter((one) => !isKind(one, 'ReplicaSet'));
  const hasDeployment = own.some((one) => isKind(one, 'Deployment'));
  if (!hasDeployment && (pods.length > 0 || sets.length > 0)) return true;
  return own.some(({ object }) => isTerminating(object) || goesWithPods(object));
}

/**
 * A failed serving begins anew: while some of its replicas answer, those that do not are made anew; else the whole Deployment goes, and
 * with it what it has given up. @returns false when it goes
 */
async function startAfresh(
  cluster: Cluster,
  deployment: Deployment,
  pods: readonly Pod[],
  digest: string,
): Promise<boolean> {
  const { client, settings, log } = cluster;
  const { state, message } = await observeServing(cluster, digest);
  if (state !== 'failed') return true;
  log.info({ serving: servingName(digest), why: message }, 'a failed serving is started afresh');
  const { namespace } = settings;
  if (!pods.some(isReady)) {
    const { name, uid } = deployment.metadata;
    await client.remove(resources.deployments, { namespace, name }, { propagation: 'foreground', uid });
    return false;
  }
  for (const pod of pods.filter((one) => !isReady(one) && !isTerminating(one) && !hasEnded(one))) {
    const { name, uid } = pod.metadata;
    await client.remove(resources.pods, { namespace, name }, { uid });
  }
  return true;
}

/**
 * Under an autoscaler the number of replicas is not ours. Letting go of a field that nobody else has set makes the API server fall back
 * to its default, one replica; so another manager takes the number over before, until the autoscaler sets it.
 */
async function keepReplicas(
  { client }: Cluster,
  { metadata, spec }: Deployment,
  rendered: readonly KubernetesObject[],
): Promise<void> {
  const object = rendered.find(({ kind }) => kind === 'Deployment');
  if (object === undefined || (object.spec as Deployment['spec']).replicas !== undefined) return;
  if (!ownsReplicas(metadata.managedFields)) return;
  const { apiVersion, kind } = object;
  const { name, namespace } = object.metadata;
  const handover = {
    apiVersion,
    kind,
    metadata: { name, namespace },
    spec: { replicas: spec.replicas ?? 1 },
  };
  await client.apply(resources.deployments, { namespace, name }, handover, {
    fieldManager: `${FIELD_MANAGER}-handover`,
  });
}

function ownsReplicas(managedFields: ManagedFields[] = []): boolean {
  return managedFields.some(({ manager, operation, fieldsV1 }) => {
    const fields = fieldsV1 as { 'f:spec'?: object } | undefined;
    return manager === FIELD_MANAGER && operation === 'Apply' && 'f:replicas' in (fields?.['f:spec'] ?? {});
  });
}

/** Kinds that a serving has or not, by its policy. */
const isOptional = ({ kind }: Resource): boolean =>
  kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject';

export function resourceOf({ apiVersion, kind }: KubernetesObject): Resource {
  const resource = kindsOfServing.find((one) => one.kind === kind && one.apiVersion === apiVersion);
  if (resource === undefined) throw new Error(`a serving has no object of kind ${kind}`);
  return resource;
}
