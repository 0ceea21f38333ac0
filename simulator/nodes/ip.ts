import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { NodesError } from './errors.ts';

const run = promisify(execFile);

/** Runs the `ip` command. Throws NodesError with what it says. */
export async function ip(args: readonly string[]): Promise<string> {
  try {
    return (await run('ip', [...args])).stdout;
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    throw new NodesError(
      `This machine's network cannot hold pods: ${(stderr || message).trim()}`,
      'Run it on Linux with the `ip` command (package iproute2), as root or with CAP_NET_ADMIN.',
    );
  }
}
