import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

/** Below the range from which Linux and macOS draw ports for outgoing connections, so that no client socket is in the way. */
const LOWEST = 20_000;
const HIGHEST = 32_000;

/** Ports handed out by this process, so that two parts that start together never get the same one. */
const handedOut = new Set<number>();

export function portIsFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.unref();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** A port on 127.0.0.1 that nothing listens on and that this process has not handed out before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(LOWEST, HIGHEST);
    if (handedOut.has(port) || !(await portIsFree(port))) continue;
    handedOut.add(port);
    return port;
  }
}

/** The first of the wanted ports that is free, else any free one. */
export async function choosePort(...wanted: readonly (number | undefined)[]): Promise<number> {
  for (const port of wanted) {
    if (port === undefined || !(await portIsFree(port))) continue;
    handedOut.add(port);
    return port;
  }
  return freePort();
}
