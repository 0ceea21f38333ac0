import { randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';

/** Below the range from which Linux and macOS draw ports for outgoing connections, so that no client socket is in the way. */
const LOWEST = 20_000;
const HIGHEST = 32_000;

/**
 * Ports handed out by processes of this machine that still run, a file with the process's id each: two parts that start together never get
 * the same one, though neither listens on it yet.
 */
const claims = join(tmpdir(), `slipway-ports-${userInfo().uid}`);
const ours = new Set<string>();
process.on('exit', () => {
  for (const file of ours) rmSync(file, { force: true });
});

/** @returns false when another process, or this one, has handed the port out */
function claim(port: number): boolean {
  const file = fileOf(port);
  mkdirSync(claims, { recursive: true });
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' });
  } catch {
    if (ownerLives(file)) return false;
    writeFileSync(file, String(process.pid));
  }
  ours.add(file);
  return true;
}

function fileOf(port: number): string {
  return join(claims, String(port));
}

function ownerLives(file: string): boolean {
  try {
    process.kill(Number(readFileSync(file, 'utf8')), 0);
    return true;
  } catch {
    return false;
  }
}

export function portIsFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.unref();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** A port on 127.0.0.1 that nothing listens on and that nobody has been handed out before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(LOWEST, HIGHEST);
    if ((await portIsFree(port)) && claim(port)) return port;
  }
}

/** The first of the wanted ports that is free, else any free one. */
export async function choosePort(...wanted: readonly (number | undefined)[]): Promise<number> {
  for (const port of wanted) {
    // One that this process has had before is its own.
    if (port !== undefined && (await portIsFree(port)) && (ours.has(fileOf(port)) || claim(port)))
      return port;
  }
  return freePort();
}
