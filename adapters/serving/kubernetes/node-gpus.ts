import type { Node, Pod } from '../../kubernetes/objects.ts';
import { resources } from '../../kubernetes/resources.ts';
import { type Cluster, ifAllowed } from './context.ts';
import { type GpuFigures, type GpuWish, gpuFigures } from './gpus.ts';

/** Up to so many nodes their pods are asked for node by node, which spares the rest of a large cluster. */
const FEW_NODES = 20;

/** GPUs of the cluster's nodes now; null for whoever may not read nodes, or pods of all namespaces. */
export async function readGpus({ client }: Cluster, wish: GpuWish): Promise<GpuFigures | null> {
  const nodes = await ifAllowed(client.list<Node>(resources.nodes), null);
  if (nodes === null) return null;
  const matching = gpuFigures(wish, nodes.items, []).nodes;
  const selectors =
    matching.length > FEW_NODES ? [undefined] : matching.map(({ name }) => `spec.nodeName=${name}`);
  const lists = await ifAllowed(
    Promise.all(selectors.map((fieldSelector) => client.list<Pod>(resources.pods, { fieldSelector }))),
    null,
  );
  if (lists === null) return null;
  return gpuFigures(
    wish,
    nodes.items,
    lists.flatMap(({ items }) => items),
  );
}
