import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { arch, os } from './cache.ts';
import type { Tool } from './spec.ts';

/** Time to a first answer, in milliseconds: where there is no way out, a start must not wait for it. */
const ANSWER_MS = 4000;
/** Time for the whole archive, in milliseconds. */
const TRANSFER_MS = 300_000;

/** The SHA-256 of the named file in a list of `SHA-256  NAME` lines, or in a file of its own that holds nothing else. */
export function checksumIn(list: string, file: string): string | undefined {
  if (/^[0-9a-f]{64}$/i.test(list.trim())) return list.trim().toLowerCase();
  for (const line of list.split('\n')) {
    const found = /^([0-9a-f]{64})\s+\*?(\S+)$/i.exec(line.trim());
    if (found?.[2] === file) return found[1]?.toLowerCase();
  }
  return undefined;
}

async function get(url: string): Promise<Response> {
  const answer = new AbortController();
  const timer = setTimeout(() => answer.abort(new Error('no answer')), ANSWER_MS);
  try {
    const response = await fetch(url, {
      signal: AbortSignal.any([answer.signal, AbortSignal.timeout(TRANSFER_MS)]),
    });
    if (!response.ok) throw new Error(`HTTP ${response.status}`);
    return response;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Puts the tool's program from its project's release into the folder. Throws when the release does not answer, publishes no checksum
 * for the archive, or the checksum differs.
 */
export async function download(tool: Tool, folder: string): Promise<void> {
  const { archive, checksums } = tool.release(os, arch);
  const list = await (await get(checksums)).text();
  const wanted = checksumIn(list, basename(archive));
  if (!wanted) throw new Error(`no published checksum for ${basename(archive)}`);
  const bytes = Buffer.from(await (await get(archive)).arrayBuffer());
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== wanted)
    throw new Error(`checksum of ${basename(archive)} is ${found}, published is ${wanted}`);
  if (archive.endsWith('.tar.gz')) await unpack(bytes, tool, folder);
  else await writeFile(join(folder, tool.name), bytes, { mode: 0o755 });
}

/** Takes the program alone out of the archive, wherever in it the project keeps it. */
async function unpack(bytes: Buffer, tool: Tool, folder: string): Promise<void> {
  const file = join(folder, 'archive.tar.gz');
  await writeFile(file, bytes);
  const run = promisify(execFile);
  const { stdout } = await run('tar', ['-tzf', file], { maxBuffer: 16 << 20 });
  const entry = stdout.split('\n').find((name) => basename(name) === tool.archived && !name.endsWith('/'));
  if (!entry) throw new Error(`${basename(dirname(file))}: the archive holds no ${tool.archived}`);
  await run('tar', ['-xzf', file, '-C', folder, entry]);
  const { rename, rm } = await import('node:fs/promises');
  await rename(join(folder, entry), join(folder, tool.name));
  await rm(file);
}
