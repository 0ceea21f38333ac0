import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { buildWithGo, type Say } from './build.ts';
import { cachedBinary, cacheRoot, placeInCache, withLock } from './cache.ts';
import { download } from './download.ts';
import type { Tool } from './spec.ts';

/** The effects that resolving needs, so that a test can stand in for the slow ones. */
export interface ResolveOptions {
  say: Say;
  root?: string;
  env?: NodeJS.ProcessEnv;
  download?: typeof download;
  build?: typeof buildWithGo;
}

function executablesOnPath(names: readonly string[], path: string): string[] {
  const candidates = path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .flatMap((folder) => names.map((name) => join(folder, name)));
  return candidates.filter((file) => {
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch {
      return false;
    }
  });
}

async function usable(tool: Tool, file: string): Promise<boolean> {
  try {
    const { stdout, stderr } = await promisify(execFile)(file, tool.versionArgs ?? ['--version'], {
      timeout: 5000,
    });
    return tool.accepts(`${stdout}${stderr}`);
  } catch {
    return false;
  }
}

/**
 * The tool's program from the first source that answers: PATH, the cache, the project's release, a build with Go. The last two go into
 * the cache. Throws DEPENDENCY_UNAVAILABLE when no source has it.
 */
export async function resolveTool(tool: Tool, options: ResolveOptions): Promise<string> {
  const { say, root = cacheRoot(), env = process.env } = options;
  for (const file of executablesOnPath(tool.commands, env.PATH ?? '')) {
    if (await usable(tool, file)) return file;
    say(`${tool.name}: ${file} is not a version that Slipway can use, looking further`);
  }
  const cached = cachedBinary(tool, root);
  if (existsSync(cached)) return cached;
  return withLock(
    `${tool.name}-${tool.version}`,
    async () => (existsSync(cached) ? cached : fetchTool(tool, root, options)),
    { root, onWait: () => say(`${tool.name}: another start is getting it, waiting`) },
  );
}

async function fetchTool(tool: Tool, root: string, options: ResolveOptions): Promise<string> {
  const { say } = options;
  try {
    return await placeInCache(
      tool,
      async (folder) => {
        await (options.download ?? download)(tool, folder);
        if (!(await usable(tool, join(folder, tool.name)))) throw new Error('the program does not run here');
        say(`${tool.name}: downloaded ${tool.version} from its project's release, checksum verified`);
      },
      root,
    );
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    say(`${tool.name}: no download (${why}), building ${tool.version} with Go`);
  }
  return placeInCache(tool, (folder) => (options.build ?? buildWithGo)(tool, folder, say), root);
}
