import { counted } from '../../../domain/counted.ts';
import { SlipwayError } from '../../../domain/errors.ts';
import { FIELD_MANAGER, kindsOfServing } from '../../../domain/kubernetes/objects.ts';
import { renderServing } from '../../../domain/kubernetes/render.ts';
import { gpuSettingsOf } from '../../../domain/kubernetes/settings.ts';
import type { ChecklistItem } from '../../../domain/preflight.ts';
import type { Serving, WantedServing } from '../../../domain/serving/serving.ts';
import type { ResourceQuota } from '../../kubernetes/objects.ts';
import { resources } from '../../kubernetes/resources.ts';
import { reviewPermissions } from './access.ts';
import { resourceOf } from './apply.ts';
import { type Cluster, ifAllowed } from './context.ts';
import { type GpuFigures, nodesInWords, obstacleRemedy, selectorInWords } from './gpus.ts';
import { readGpus } from './node-gpus.ts';
import { demandOf, excesses } from './quota.ts';
import { missingReferences } from './references.ts';

type Found = Omit<ChecklistItem, 'item'>;

/** What the cluster says of a serving before it is made; nothing is changed. */
export async function checkServing(
  cluster: Cluster,
  serving: Serving,
  replicas: number,
): Promise<ChecklistItem[]> {
  const items: [string, () => Promise<Found>][] = [
    ['Kubernetes permissions', () => permissions(cluster)],
    ['GPUs of the cluster', () => gpus(cluster, serving, replicas)],
    ['quota of the namespace', () => quota(cluster, serving, replicas)],
    ['secrets, volume and classes', () => references(cluster)],
    ['objects taken by the API server', () => dryRun(cluster, serving, replicas)],
  ];
  const checklist: ChecklistItem[] = [];
  for (const [item, look] of items) checklist.push({ item, ...(await foundBy(look)) });
  return checklist;
}

/** What the API server refuses is a failed item; an outage is the caller's to try again. */
async function foundBy(look: () => Promise<Found>): Promise<Found> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.code === 'DEPENDENCY_UNAVAILABLE') throw error;
    return { passed: false, message: error.message, remedy: error.details.remedy };
  }
}

async function permissions(cluster: Cluster): Promise<Found> {
  const { asked, missing, lacking } = await reviewPermissions(cluster);
  const list = (verbs: string[]): string => verbs.slice(0, 8).join(', ') + (verbs.length > 8 ? ', …' : '');
  if (missing.length > 0) {
    return {
      passed: false,
      message: `it may not ${list(missing)}`,
      remedy: `Add these verbs to its role in namespace ${cluster.settings.namespace}; the Helm chart's role has them`,
    };
  }
  const warning =
    lacking.length > 0 ? `; warning: explanations will be poorer, for it may not ${list(lacking)}` : '';
  return { passed: true, message: `all ${asked} that are needed${warning}` };
}

async function gpus(cluster: Cluster, serving: Serving, replicas: number): Promise<Found> {
  const { count, kind } = serving.runtime.gpu;
  const { resource, nodeSelector, tolerations } = gpuSettingsOf(serving.runtime, cluster.settings);
  const figures = await readGpus(cluster, { count, resource, nodeSelector, tolerations });
  if (figures === null)
    return { passed: true, message: 'not known: it may not look at nodes and their pods' };
  return gpuItem(figures, {
    replicas,
    count,
    kind,
    nodeSelector,
    growing: cluster.settings.autoscaling.nodes,
  });
}

export interface WantedGpus {
  replicas: number;
  /** GPUs of a replica, which must be on one node. */
  count: number;
  kind: string;
  nodeSelector: Record<string, string>;
  /** The cluster adds GPU nodes by itself. */
  growing: boolean;
}

/** Each case has its own way out: a kind that is nowhere, replicas that no node ever holds, nodes that are closed, GPUs that others have. */
export function gpuItem(figures: GpuFigures, wanted: WantedGpus): Found {
  const { replicas, count, kind, nodeSelector, growing } = wanted;
  const want = `wanted ${replicas} × ${count} ${kind}`;
  const refused = (message: string, remedy: string): Found =>
    growing
      ? { passed: true, message: `${message}; the cluster is to add nodes` }
      : { passed: false, message, remedy };
  if (figures.nodes.length === 0) {
    const others = figures.others.slice(0, 8).join('; ');
    return refused(
      `${want}; none of the ${figures.allNodes} nodes has ${selectorInWords(nodeSelector)}, ${others === '' ? 'and none has GPUs' : `there are: ${others}`}`,
      `Use a kind that there is, correct gpus.${kind}.nodeSelector in the cluster's settings, or add such a node; ${GROWING}`,
    );
  }
  const nodes = nodesInWords(figures);
  const largest = Math.max(...figures.nodes.map(({ total }) => total));
  if (largest < count) {
    return refused(
      `${want}; no node can ever hold a replica, the largest has ${counted(largest, 'GPU')} (${nodes})`,
      `Give a replica at most ${counted(largest, 'GPU')} (runtime.gpu.count), or add larger nodes; ${GROWING}`,
    );
  }
  const message = `${want}, free are ${figures.free} with room for ${counted(figures.room, 'replica')} (${nodes})`;
  if (figures.room >= replicas) return { passed: true, message };
  const closed = obstacleRemedy(figures);
  if (closed !== null) return refused(message, `${closed}; ${GROWING}`);
  if (figures.roomIfEmpty < replicas) {
    return refused(
      `${message}, and for ${figures.roomIfEmpty} if nothing else ran there`,
      `Ask for at most ${counted(figures.roomIfEmpty, 'replica')} or for fewer GPUs, or add nodes; ${GROWING}`,
    );
  }
  return refused(
    message,
    `Others have them now: slipway reaper report tells servings that nobody needs, releases under way free theirs at their end, kubectl get pods -A -o wide tells the rest; then start the release again. Or add nodes; ${GROWING}`,
  );
}

const GROWING = 'if the cluster adds nodes by itself, set autoscaling.nodes: true in its settings';

async function quota(cluster: Cluster, serving: Serving, replicas: number): Promise<Found> {
  const { client, settings } = cluster;
  const { namespace, resources: perReplica } = settings;
  const listed = await ifAllowed(client.list<ResourceQuota>(resources.resourceQuotas, { namespace }), null);
  if (listed === null) return { passed: true, message: 'not known: it may not look at quotas' };
  const { resource } = gpuSettingsOf(serving.runtime, settings);
  const requests = { ...perReplica, [resource]: String(serving.runtime.gpu.count) };
  const found = excesses(demandOf(requests, replicas), listed.items);
  if (found.length === 0) {
    return { passed: true, message: listed.items.length === 0 ? 'there is none' : 'room enough' };
  }
  const told = found.map(
    (excess) =>
      `${excess.quota} allows ${excess.limit} ${excess.resource}, ${excess.used} are used, ${excess.wanted} more are wanted`,
  );
  return {
    passed: false,
    message: told.join('; '),
    remedy: 'Raise the ResourceQuota, end servings that nobody needs, or ask for fewer replicas',
  };
}

async function references(cluster: Cluster): Promise<Found> {
  const { asked, missing, unknown } = await missingReferences(cluster);
  if (missing.length > 0) {
    return {
      passed: false,
      message: missing.join('; '),
      remedy: "Create what is missing, or correct its name in the cluster's settings",
    };
  }
  const rest = unknown.length > 0 ? `; not known, for it may not look: ${unknown.join(', ')}` : '';
  return {
    passed: true,
    message: `${asked === 0 ? 'none is named' : `${asked - unknown.length} exist`}${rest}`,
  };
}

async function dryRun({ client, settings }: Cluster, serving: Serving, replicas: number): Promise<Found> {
  const keda = kindsOfServing.find(({ kind }) => kind === 'ScaledObject');
  const objects = renderServing(asWanted(serving, replicas), settings, {
    keda: keda !== undefined && (await client.knows(keda)),
  });
  for (const object of objects) {
    const { name, namespace } = object.metadata;
    await client.apply(resourceOf(object), { name, namespace }, object, {
      fieldManager: FIELD_MANAGER,
      dryRun: true,
    });
  }
  return { passed: true, message: `${objects.length} objects` };
}

const asWanted = (serving: Serving, replicas: number): WantedServing => ({
  ...serving,
  replicas,
  scaling: {
    by: 'slipway',
    minReplicas: replicas,
    maxReplicas: replicas,
    target: 0.8,
    shrinkBelow: 0.3,
    shrinkAfter: 0,
    maxCostPerHour: null,
    gpuHourPrice: null,
  },
  origin: null,
});
