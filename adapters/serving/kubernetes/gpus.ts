import {
  conditionOf,
  hasEnded,
  type Node,
  type Pod,
  type PodSpec,
  quantityOf,
  requestOf,
  type Taint,
  type Toleration,
} from '../../kubernetes/objects.ts';

/** What a replica wants of the node that it is to run on. */
export interface GpuWish {
  /** GPUs on one node. */
  count: number;
  /** The extended resource, e.g. `nvidia.com/gpu`. */
  resource: string;
  nodeSelector: Record<string, string>;
  tolerations: readonly Toleration[];
}

/** Why a node takes no replica, whatever its GPUs do; null: it takes one. */
export type Obstacle = { kind: 'taint'; taint: Taint } | { kind: 'cordoned' } | { kind: 'not-ready' };

export interface GpuNode {
  name: string;
  /** GPUs that pods may have, and those that none has asked for. */
  total: number;
  free: number;
  obstacle: Obstacle | null;
}

export interface GpuFigures {
  /** Nodes that the selector matches, by name. */
  nodes: GpuNode[];
  /** Nodes of the cluster. */
  allNodes: number;
  /** GPUs that are free on nodes which take the replicas. */
  free: number;
  /** Replicas that these nodes have room for: a replica's GPUs must be on one node. */
  room: number;
  /** Replicas that the matching nodes would hold if nothing else were on them and each took some. */
  roomIfEmpty: number;
  /** What other nodes say of their GPUs, e.g. `nvidia.com/gpu.product=NVIDIA-L4`, in order. */
  others: string[];
}

/** The label with a GPU's kind. Source: NVIDIA's GPU feature discovery. */
const PRODUCT = 'nvidia.com/gpu.product';

/** Capacity as the scheduler sees it: what a pod has asked for is gone, whether it uses it or not. */
export function gpuFigures(wish: GpuWish, nodes: readonly Node[], pods: readonly Pod[]): GpuFigures {
  const used = new Map<string, number>();
  for (const pod of pods) {
    const { nodeName } = pod.spec;
    if (nodeName === undefined || hasEnded(pod)) continue;
    used.set(nodeName, (used.get(nodeName) ?? 0) + requestOf(pod.spec, wish.resource));
  }
  const matching = nodes
    .filter(({ metadata }) => matches(wish.nodeSelector, metadata.labels ?? {}))
    .map((node): GpuNode => {
      const { name } = node.metadata;
      const total = quantityOf(node.status?.allocatable?.[wish.resource]);
      const free = Math.max(0, total - (used.get(name) ?? 0));
      return { name, total, free, obstacle: obstacleOf(node, wish.tolerations) };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  const open = matching.filter(({ obstacle }) => obstacle === null);
  return {
    nodes: matching,
    allNodes: nodes.length,
    free: sumOf(open, ({ free }) => free),
    room: sumOf(open, ({ free }) => replicasOn(free, wish)),
    roomIfEmpty: sumOf(matching, ({ total }) => replicasOn(total, wish)),
    others: otherGpus(wish, nodes),
  };
}

const replicasOn = (gpus: number, { count }: GpuWish): number => Math.floor(gpus / Math.max(1, count));

const sumOf = (nodes: readonly GpuNode[], figure: (node: GpuNode) => number): number =>
  nodes.reduce((sum, node) => sum + figure(node), 0);

/** By the labels that the wish goes by, where those nodes have them, else by the product. */
function otherGpus({ resource, nodeSelector }: GpuWish, nodes: readonly Node[]): string[] {
  const told = nodes
    .filter(({ metadata }) => !matches(nodeSelector, metadata.labels ?? {}))
    .filter(({ status }) => quantityOf(status?.allocatable?.[resource]) > 0)
    .map(({ metadata }) => {
      const labels = metadata.labels ?? {};
      const keys = Object.keys(nodeSelector).filter((key) => labels[key] !== undefined);
      const chosen = keys.length === 0 && labels[PRODUCT] !== undefined ? [PRODUCT] : keys;
      const words = selectorInWords(Object.fromEntries(chosen.map((key) => [key, labels[key] ?? ''])));
      return words === '' ? `${resource} without these labels` : words;
    });
  return [...new Set(told)].sort();
}

/** The wish of a pod that exists. */
export function wishOf(spec: PodSpec, resource: string): GpuWish {
  return {
    count: requestOf(spec, resource),
    resource,
    nodeSelector: spec.nodeSelector ?? {},
    tolerations: spec.tolerations ?? [],
  };
}

function matches(selector: Record<string, string>, labels: Record<string, string>): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}

function obstacleOf(node: Node, tolerations: readonly Toleration[]): Obstacle | null {
  if (node.spec?.unschedulable === true) return { kind: 'cordoned' };
  // Of a node that is not ready its controller says so by taints, too; that is the clearer word.
  if (conditionOf(node.status?.conditions, 'Ready')?.status !== 'True') return { kind: 'not-ready' };
  const taint = node.spec?.taints?.find(
    (each) => each.effect !== 'PreferNoSchedule' && !tolerations.some((one) => tolerates(one, each)),
  );
  return taint === undefined ? null : { kind: 'taint', taint };
}

/** Source: Kubernetes' `Toleration.ToleratesTaint`. */
function tolerates({ key, operator = 'Equal', value = '', effect }: Toleration, taint: Taint): boolean {
  if (effect !== undefined && effect !== '' && effect !== taint.effect) return false;
  if (key !== undefined && key !== '' && key !== taint.key) return false;
  return operator === 'Exists' || value === (taint.value ?? '');
}

/** `gpu-1 has 0 of 4 free, gpu-2 1 of 4`, at most so many nodes by name. */
export function nodesInWords({ nodes }: GpuFigures, atMost = 5): string {
  const told = nodes.slice(0, atMost).map(({ name, free, total, obstacle }) => {
    const why = obstacle === null ? '' : ` (${obstacleInWords(obstacle)})`;
    return `${name} ${free} of ${total}${why}`;
  });
  const rest = nodes.length - told.length;
  return told.join(', ') + (rest > 0 ? ` and ${rest} more nodes` : '');
}

/** What opens a node again, when every node that matches has an obstacle; null: some has none. */
export function obstacleRemedy({ nodes }: GpuFigures): string | null {
  if (nodes.some(({ obstacle }) => obstacle === null)) return null;
  for (const { obstacle } of nodes) {
    if (obstacle?.kind === 'taint')
      return `Add a toleration of ${taintInWords(obstacle.taint)} to the GPU kind in the cluster's settings`;
  }
  return 'Bring the nodes back (kubectl uncordon), or add one';
}

export function obstacleInWords(obstacle: Obstacle): string {
  if (obstacle.kind === 'cordoned') return 'cordoned';
  if (obstacle.kind === 'not-ready') return 'not ready';
  return `tainted ${taintInWords(obstacle.taint)}`;
}

export const taintInWords = ({ key, value, effect }: Taint): string =>
  `${key}${value === undefined || value === '' ? '' : `=${value}`}:${effect}`;

export const selectorInWords = (selector: Record<string, string>): string =>
  Object.entries(selector)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ');
