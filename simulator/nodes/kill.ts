import { readdirSync, readFileSync } from 'node:fs';

/** Names, in a container's environment, the agent that started it. */
export const MARK = 'SIMULATOR_NODE_AGENT';

/** True when the signal reached somebody. */
export function killGroup(group: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-group, signal);
    return true;
  } catch {
    return false;
  }
}

/** Kills the processes, of whichever group, whose environment holds a mark that begins so (Linux). */
export function killMarked(mark: string): void {
  if (mark === '') return;
  const needle = `${MARK}=${mark}`;
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const environment = readFileSync(`/proc/${name}/environ`, 'latin1').split('\0');
      if (environment.some((variable) => variable.startsWith(needle))) process.kill(Number(name), 'SIGKILL');
    } catch {
      // It has ended meanwhile, or belongs to somebody else.
    }
  }
}
