import { quantityOf, type ResourceQuota } from '../../kubernetes/objects.ts';

/** What replicas would ask for, by the names that quotas use, e.g. `requests.nvidia.com/gpu`, `pods`. */
export type Demand = Readonly<Record<string, number>>;

export interface Excess {
  quota: string;
  resource: string;
  wanted: number;
  used: number;
  limit: number;
}

/** What so many replicas with these requests (which are their limits, too) count for. */
export function demandOf(requests: Readonly<Record<string, string>>, replicas: number): Demand {
  const demand: Record<string, number> = { pods: replicas };
  for (const [resource, quantity] of Object.entries(requests)) {
    const amount = quantityOf(quantity) * replicas;
    demand[`requests.${resource}`] = amount;
    // Extended resources have quotas of requests alone; the others count by their bare name as well.
    if (!resource.includes('/')) {
      demand[`limits.${resource}`] = amount;
      demand[resource] = amount;
    }
  }
  return demand;
}

/** Where a quota has no room for the demand. */
export function excesses(demand: Demand, quotas: readonly ResourceQuota[]): Excess[] {
  return quotas.flatMap(({ metadata, status }) =>
    Object.entries(status?.hard ?? {}).flatMap(([resource, hard]) => {
      const wanted = demand[resource] ?? 0;
      const used = quantityOf(status?.used?.[resource]);
      const limit = quantityOf(hard);
      return wanted > 0 && used + wanted > limit
        ? [{ quota: metadata.name, resource, wanted, used, limit }]
        : [];
    }),
  );
}
