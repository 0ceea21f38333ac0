import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { takeLock } from '../lock.ts';
import type { Tool } from './spec.ts';

/** Go's words for this platform, which the release archives use too. */
export const os: string = process.platform;
export const arch: string = process.arch === 'x64' ? 'amd64' : process.arch;

/** Outside the checkout, so that every clone on the machine shares it. */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  return env.SLIPWAY_CACHE_DIR || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'slipway');
}

export const cachedFolder = (tool: Tool, root = cacheRoot()): string =>
  join(root, `${tool.name}-${tool.version}-${os}-${arch}`);

export const cachedBinary = (tool: Tool, root = cacheRoot()): string =>
  join(cachedFolder(tool, root), tool.name);

/**
 * Lets `make` put the tool's program into a new folder and moves the folder into place when it is complete, so that the cache never
 * holds half a program.
 */
export async function placeInCache(
  tool: Tool,
  make: (folder: string) => Promise<void>,
  root = cacheRoot(),
): Promise<string> {
  mkdirSync(root, { recursive: true });
  const folder = mkdtempSync(join(root, `.making-${tool.name}-`));
  try {
    await make(folder);
    const made = join(folder, tool.name);
    if (!existsSync(made)) throw new Error(`${tool.name}: nothing was made`);
    chmodSync(made, 0o755);
    chmodSync(folder, 0o755);
    const place = cachedFolder(tool, root);
    rmSync(place, { recursive: true, force: true });
    renameSync(folder, place);
    return cachedBinary(tool, root);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const LOCK_POLL_MS = 200;

/** Runs one holder of the named lock at a time on this machine. */
export async function withLock<T>(
  name: string,
  work: () => Promise<T>,
  { root = cacheRoot(), onWait = () => undefined }: { root?: string; onWait?: () => void } = {},
): Promise<T> {
  const file = join(root, `.${name}.lock`);
  let release = takeLock(file);
  if (!release) onWait();
  while (!release) {
    await delay(LOCK_POLL_MS);
    release = takeLock(file);
  }
  try {
    return await work();
  } finally {
    release();
  }
}
