import type { EndpointSource } from '../adapters/endpoints/endpoints.ts';
import { shortDigest } from '../domain/digest.ts';
import type { ArmTarget, RouteTable } from '../domain/routing.ts';
import type { InUse } from './unused-series.ts';

/** The route table's own lists, as the control plane last published them; all that there is without a cluster. */
export function publishedEndpoints(table: RouteTable | null): Pick<EndpointSource, 'endpointsOf'> {
  const published = new Map<string, readonly string[]>();
  for (const { stable, canary } of Object.values(table?.routes ?? {})) {
    for (const target of [stable, canary]) {
      if (target !== null) published.set(target.serving, target.endpoints);
    }
  }
  return { endpointsOf: (serving) => published.get(serving) ?? null };
}

/**
 * Where a request of the target can go at this moment. The newest table has the last word on whether it may go anywhere: no endpoint there
 * means withdrawn, whatever the cluster still shows, because the GPUs are freed as soon as every gateway has acknowledged that
 * (invariants 2 and 5). A target that the table no longer has is one that a request in flight still holds. Which replicas there are,
 * the cluster knows better; if it knows nothing of the serving, the published list is used.
 */
export function replicasOf(
  target: Pick<ArmTarget, 'serving' | 'endpoints'>,
  published: Pick<EndpointSource, 'endpointsOf'>,
  cluster: Pick<EndpointSource, 'endpointsOf'> | null,
): readonly string[] {
  const endpoints = published.endpointsOf(target.serving) ?? target.endpoints;
  if (endpoints.length === 0) return endpoints;
  return cluster?.endpointsOf(target.serving) ?? endpoints;
}

/** Where requests of the table can go at this moment. */
export function inUseNow(
  table: RouteTable,
  published: Pick<EndpointSource, 'endpointsOf'>,
  cluster: Pick<EndpointSource, 'endpointsOf'> | null,
): InUse {
  const inUse = new Map<string, Set<string>>();
  for (const target of Object.values(table.routes).flatMap(({ stable, canary }) => [stable, canary])) {
    if (target === null) continue;
    const revision = shortDigest(target.revision);
    const known = inUse.get(revision) ?? [];
    inUse.set(revision, new Set([...known, ...replicasOf(target, published, cluster)]));
  }
  return inUse;
}
