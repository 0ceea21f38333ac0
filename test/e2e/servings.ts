import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { World } from './world.ts';

/** A replica's leading process, as the operating system knows it. */
export interface ServingProcess {
  pid: number;
  /** The record that it belongs to. */
  replica: string;
}

/** Every process that was started as a replica in this world, recorded or not; Linux. */
export function servingProcesses({ supervisor }: World): ServingProcess[] {
  const found: ServingProcess[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const environment = read(`/proc/${name}/environ`).split('\0');
    if (!environment.includes(`SLIPWAY_SUPERVISOR=${supervisor.mark}`)) continue;
    const replica = environment.find((entry) => entry.startsWith('SLIPWAY_REPLICA='))?.split('=')[1];
    if (replica !== undefined) found.push({ pid: Number(name), replica });
  }
  return found.sort((a, b) => a.pid - b.pid);
}

/** What the serving adapter has on record: replicas by serving. */
export function recordedServings({ stack }: World): Record<string, { replica: string; pid: number }[]> {
  const root = join(stack.state, 'servings');
  const servings = readdirSync(root).map((serving) => [serving, replicasIn(join(root, serving))]);
  return Object.fromEntries(servings);
}

function replicasIn(folder: string): { replica: string; pid: number }[] {
  return readdirSync(folder)
    .filter((file) => /^replica-\d+\.json$/.test(file))
    .map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')))
    .map((record: { token: string; process: { pid: number } | null }) => ({
      replica: record.token,
      pid: record.process?.pid ?? 0,
    }))
    .sort((a, b) => a.pid - b.pid);
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
