import { selectorOf } from '../../../domain/kubernetes/objects.ts';
import {
  type Deployment,
  hasEnded,
  isReady,
  isTerminating,
  type KubernetesEvent,
  type Pod,
  requestOf,
} from '../../kubernetes/objects.ts';
import { resources } from '../../kubernetes/resources.ts';
import type { ServingObservation } from '../adapter.ts';
import { type Cluster, findObjects, gpuResourcesOf, ifAllowed } from './context.ts';
import { type Diagnosis, diagnose, type Evidence } from './diagnosis.ts';
import { type Finding, findingOf } from './findings.ts';
import { wishOf } from './gpus.ts';
import { readGpus } from './node-gpus.ts';
import { observationOf, type Parts } from './observation.ts';

/** Pods whose events are read: replicas of one serving fail alike. */
const PODS_ASKED = 3;
const LOG_LINES = 30;

/** The serving's Deployment (null: none) and pods, by its labels. */
export async function readServing(
  { client, settings }: Cluster,
  digest: string,
): Promise<{ deployment: Deployment | null; pods: Pod[] }> {
  const { namespace } = settings;
  const labelSelector = selectorOf(digest);
  const [deployments, pods] = await Promise.all([
    client.list<Deployment>(resources.deployments, { namespace, labelSelector }),
    client.list<Pod>(resources.pods, { namespace, labelSelector }),
  ]);
  return { deployment: deployments.items[0] ?? null, pods: pods.items };
}

export async function observeServing(cluster: Cluster, digest: string): Promise<ServingObservation> {
  const { deployment, pods } = await readServing(cluster, digest);
  const others =
    deployment === null ? (await findObjects(cluster, selectorOf(digest))).map(({ object }) => object) : [];
  const parts: Parts = { deployment, pods, others, gpuResources: gpuResourcesOf(cluster.settings) };
  return observationOf(
    digest,
    parts,
    deployment === null ? null : await problemOf(cluster, deployment, pods),
  );
}

/** Why not every wanted replica answers; null when all do, or are on their way. */
async function problemOf(
  cluster: Cluster,
  deployment: Deployment,
  pods: readonly Pod[],
): Promise<(Diagnosis & { lasting: boolean }) | null> {
  const wanted = deployment.spec.replicas ?? 1;
  if (isTerminating(deployment) || pods.filter(isReady).length >= wanted) return null;
  const events = await eventsOf(cluster, pods);
  const finding = findingOf({ deployment, pods, events });
  if (finding === null) return null;
  const diagnosis = diagnose(finding, await evidenceFor(cluster, finding));
  return { ...diagnosis, lasting: finding.lasting };
}

async function eventsOf({ client, settings }: Cluster, pods: readonly Pod[]): Promise<KubernetesEvent[]> {
  const waiting = pods.filter((pod) => !isReady(pod) && !isTerminating(pod) && !hasEnded(pod));
  const lists = await Promise.all(
    waiting.slice(0, PODS_ASKED).map(({ metadata }) =>
      ifAllowed(
        client.list<KubernetesEvent>(resources.events, {
          namespace: settings.namespace,
          fieldSelector: `involvedObject.kind=Pod,involvedObject.name=${metadata.name}`,
        }),
        { items: [] },
      ),
    ),
  );
  return lists.flatMap(({ items }) => items);
}

async function evidenceFor(cluster: Cluster, finding: Finding): Promise<Evidence> {
  const { namespace } = cluster.settings;
  const evidence: Evidence = { gpus: null, log: null, namespace };
  if (finding.cause === 'unschedulable') return { ...evidence, gpus: await gpusFor(cluster, finding.pod) };
  if (finding.cause !== 'ending' && finding.cause !== 'probe') return evidence;
  return { ...evidence, log: await logOf(cluster, finding) };
}

/**
 * The end of the log of the container that ended last. The pod's listing is older than the log that is read: meanwhile a successor may have
 * started, which has said nothing yet. So the previous container's is read where there is one, and the other where that says nothing.
 */
async function logOf(
  { client, settings: { namespace } }: Cluster,
  { container, pod, restarts }: Extract<Finding, { cause: 'ending' | 'probe' }>,
): Promise<string | null> {
  const status = pod.status?.containerStatuses?.find(({ name }) => name === container);
  const hasSuccessor = restarts > 0 && status?.state?.terminated === undefined;
  const read = (previous: boolean): Promise<string | null> =>
    client.log({ namespace, name: pod.metadata.name }, container, { lines: LOG_LINES, previous });
  const log = await read(hasSuccessor);
  const says = log !== null && log.trim() !== '';
  return says ? log : ((await read(!hasSuccessor)) ?? log);
}

/** The nodes are the cluster's, and so are the pods on them; whoever may not read either gets no figures. */
async function gpusFor(cluster: Cluster, pod: Pod): Promise<Evidence['gpus']> {
  const resource = gpuResourcesOf(cluster.settings).find((name) => requestOf(pod.spec, name) > 0);
  if (resource === undefined) return null;
  const wish = wishOf(pod.spec, resource);
  const figures = await readGpus(cluster, wish);
  return figures === null ? null : { wish, figures };
}
