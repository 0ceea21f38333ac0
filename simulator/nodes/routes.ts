import { ip } from './ip.ts';

/**
 * Makes the addresses of a range that no pod has unreachable: otherwise a connection to a pod that is gone would leave this machine, and
 * whatever answers there would pass for the pod. Several agents may share a range, each with a route of its own metric.
 */
export async function refuseOthers(range: string, metric: number): Promise<void> {
  await ip(['route', 'add', 'unreachable', range, 'metric', String(metric)]);
}

/** Removes the routes, of whichever range, whose metric matches. */
export async function removeRoutes(matches: (metric: number) => boolean): Promise<void> {
  const listed = await ip(['-oneline', 'route', 'show', 'type', 'unreachable']);
  for (const [, range = '', metric = ''] of listed.matchAll(/^unreachable (\S+).* metric (\d+)/gm)) {
    if (!matches(Number(metric))) continue;
    await ip(['route', 'del', 'unreachable', range, 'metric', metric]).catch(() => undefined);
  }
}
