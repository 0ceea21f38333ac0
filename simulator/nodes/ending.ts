import { setTimeout as delay } from 'node:timers/promises';
import type { ContainerProcess } from './process.ts';

/** What a process has from SIGTERM to SIGKILL at least, also after a hook that took the whole grace, in milliseconds. */
const LEAST_MS = 2000;

/** Ends a process as a kubelet does: the hook and the process share the grace, then it is killed. */
export async function endProcess(
  process: ContainerProcess,
  preStop: (() => Promise<void>) | undefined,
  graceMs: number,
): Promise<void> {
  const begun = performance.now();
  const late = new AbortController();
  const after = (ms: number) => delay(ms, undefined, { signal: late.signal }).catch(() => undefined);
  if (preStop) await Promise.race([preStop(), process.exited, after(graceMs)]);
  process.signal('SIGTERM');
  const left = Math.max(LEAST_MS, graceMs - (performance.now() - begun));
  await Promise.race([process.exited, after(left)]);
  process.signal('SIGKILL');
  await process.exited;
  late.abort();
}
