import type { V1Endpoint, V1EndpointSlice } from '@kubernetes/client-node';
import { labels, PORT } from '../../domain/kubernetes/objects.ts';

/** As the API sends it: of the client's type, what is read here. */
export interface EndpointSlice extends Pick<V1EndpointSlice, 'addressType' | 'endpoints' | 'ports'> {
  metadata: { name: string; labels?: Record<string, string> };
}

/** Short digest of the serving whose replicas a slice lists; the controller copies the label from the Service. */
export function servingOf(slice: EndpointSlice): string | undefined {
  return slice.metadata.labels?.[labels.serving];
}

/**
 * Base URLs of the replicas that new requests may go to, sorted. They are in one slice or several, and in two of them while the controller
 * moves them. Ready ones; when there is none, those that are going and still serve, as kube-proxy does it: between the end of the last old
 * replica and the readiness of the first new one there would be nobody else.
 */
export function endpointsOfSlices(slices: Iterable<EndpointSlice>): string[] {
  const ready = new Set<string>();
  const leaving = new Set<string>();
  for (const slice of slices) {
    const port = slice.ports?.find(({ name }) => name === PORT.name)?.port;
    if (port === undefined) continue;
    for (const endpoint of slice.endpoints ?? []) {
      const urls = state(endpoint) === 'ready' ? ready : state(endpoint) === 'leaving' ? leaving : null;
      for (const address of endpoint.addresses) urls?.add(urlOf(address, slice.addressType, port));
    }
  }
  return [...(ready.size > 0 ? ready : leaving)].sort();
}

/** By the API's contract an absent condition is to be taken for ready, for serving what ready says, and for not terminating. */
function state({ conditions }: V1Endpoint): 'ready' | 'leaving' | 'not ready' {
  const ready = conditions?.ready !== false;
  if (conditions?.terminating !== true) return ready ? 'ready' : 'not ready';
  return (conditions.serving ?? ready) ? 'leaving' : 'not ready';
}

function urlOf(address: string, type: string, port: number): string {
  return `http://${type === 'IPv6' ? `[${address}]` : address}:${port}`;
}
