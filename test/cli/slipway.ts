import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../cli/main.ts', import.meta.url));

export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the command line as people do, in a process of its own. */
export async function slipway(
  args: string[],
  env: Record<string, string> = {},
  cwd?: string,
  input?: string,
): Promise<Ended> {
  const { NO_COLOR: _, FORCE_COLOR: _f, ...inherited } = process.env;
  const child = spawn(process.execPath, [main, ...args], {
    env: { ...inherited, SLIPWAY_API_URL: '', SLIPWAY_API_KEY: '', ...env },
    cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  // Whoever refuses its input before the end closes the pipe.
  child.stdin.on('error', () => {}).end(input);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}
