/**
 * Ends what a node agent started when the agent is gone, even by SIGKILL: its stdin is a pipe whose other end only the agent holds. Lines
 * on it are `+GROUP` and `-GROUP` (process groups begun and ended); the end of the pipe is the end of the agent. Then the groups are
 * killed, and so is what carries the mark (first argument) in its environment; addresses with the label (second argument) and the route
 * with the metric (third) go.
 */
import { createInterface } from 'node:readline';
import { removeLabelled } from './addresses.ts';
import { killGroup, killMarked } from './kill.ts';
import { removeRoutes } from './routes.ts';

const [mark = '', label = '', metric = ''] = process.argv.slice(2);
const groups = new Set<number>();

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);

for await (const line of createInterface({ input: process.stdin })) {
  const group = Number(line.slice(1));
  if (!Number.isInteger(group) || group <= 1) continue;
  if (line.startsWith('+')) groups.add(group);
  else groups.delete(group);
}

for (const group of groups) killGroup(group, 'SIGKILL');
killMarked(mark);
await removeLabelled(label).catch(() => undefined);
await removeRoutes((each) => each === Number(metric)).catch(() => undefined);
