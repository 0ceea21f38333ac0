import { execFile, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { SlipwayError } from '../../../domain/errors.ts';
import type { Tool } from './spec.ts';

export type Say = (line: string) => void;

const MODULES = fileURLToPath(new URL('../../tools/', import.meta.url));
const PROGRESS_MS = 10_000;

/** The module's own pins decide, never what happens to be configured on the machine. */
const goEnv = (): NodeJS.ProcessEnv => ({
  ...process.env,
  CGO_ENABLED: '0',
  GOTOOLCHAIN: 'local',
  GOWORK: 'off',
  GOFLAGS: '-buildvcs=false',
});

/** Builds the tool from its pinned module into the folder. Throws DEPENDENCY_UNAVAILABLE when Go is missing or the build fails. */
export async function buildWithGo(tool: Tool, folder: string, say: Say): Promise<void> {
  const cwd = join(MODULES, tool.module ?? tool.name);
  await requireGo(cwd);
  const started = Date.now();
  const seconds = (): number => Math.round((Date.now() - started) / 1000);
  let modules = 0;
  let packages = 0;
  let total: number | undefined;
  const progress = setInterval(() => {
    const downloaded = modules > 0 ? `, ${modules} modules downloaded` : '';
    const compiled = total === undefined ? '' : `, ${packages} of at most ${total} packages compiled`;
    say(`${tool.name}: building with Go, ${seconds()} s${downloaded}${compiled}`);
  }, PROGRESS_MS);
  const count = (line: string): void => {
    if (line.startsWith('go: downloading ')) modules += 1;
    else if (!line.startsWith('go: ') && !line.includes(' ')) packages += 1;
  };
  try {
    const listed = await go(['list', '-deps', ...tool.goFlags, tool.goPackage], cwd, count);
    packages = 0;
    total = listed.length;
    const flags = ['-v', '-trimpath', ...tool.goFlags];
    await go(['build', ...flags, '-o', join(folder, tool.name), tool.goPackage], cwd, count);
  } finally {
    clearInterval(progress);
  }
  say(`${tool.name}: built in ${seconds()} s`);
}

async function requireGo(cwd: string): Promise<void> {
  try {
    await promisify(execFile)('go', ['list', '-m'], { cwd, env: goEnv() });
  } catch (cause) {
    const why = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
    throw new SlipwayError(
      'DEPENDENCY_UNAVAILABLE',
      `Go is needed to build the local stack and does not work: ${why || 'there is none on PATH'}`,
      { field: 'go', remedy: 'Install Go 1.26.8 or newer, or put the programs on PATH.' },
      { cause },
    );
  }
}

/** Runs go, feeds each line of stderr to `onLine`, and gives the lines of stdout. */
function go(args: readonly string[], cwd: string, onLine: (line: string) => void): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn('go', [...args], { cwd, env: goEnv(), stdio: ['ignore', 'pipe', 'pipe'] });
    const out: string[] = [];
    const tail: string[] = [];
    createInterface({ input: child.stdout }).on('line', (line) => out.push(line));
    createInterface({ input: child.stderr }).on('line', (line) => {
      onLine(line);
      tail.push(line);
      if (tail.length > 30) tail.shift();
    });
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) return resolve(out);
      reject(
        new SlipwayError(
          'DEPENDENCY_UNAVAILABLE',
          `go ${args[0]} failed (${signal ?? `exit code ${code}`}):\n${tail.join('\n')}`,
          { field: 'go', remedy: 'Check the network and the disk space, then start again.' },
        ),
      );
    });
  });
}
