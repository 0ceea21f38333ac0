import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Account {
  uid: number;
  gid: number;
}

/** Where root's own Postgres lives when the checkout is closed to other users, as /root usually is. */
const OPEN_TO_ALL = '/var/lib/slipway';

function accountNamed(name: string): Account | undefined {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  return uid === undefined || gid === undefined ? undefined : { uid: Number(uid), gid: Number(gid) };
}

/**
 * The account that runs Postgres: undefined (this one) unless this is root, as in many containers; Postgres refuses to run as root.
 * Creates the account `postgres` if there is none.
 */
export async function postgresAccount(): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const existing = accountNamed('postgres');
  if (existing) return existing;
  try {
    await run('groupadd', ['--system', 'postgres']);
    await run('useradd', ['--system', '--gid', 'postgres', '--no-create-home', 'postgres']);
  } catch {
    // A small image without these programs still has `nobody`.
  }
  const account = accountNamed('postgres') ?? accountNamed('nobody');
  if (!account)
    throw new Error('Postgres refuses to run as root and there is no other account: add one named postgres');
  return account;
}

/** True when the account may pass through every folder down to the path. */
function reachable(path: string, { uid, gid }: Account): boolean {
  for (let folder = path; ; folder = dirname(folder)) {
    if (existsSync(folder)) {
      const { mode, uid: owner, gid: group } = statSync(folder);
      const bit = owner === uid ? 0o100 : group === gid ? 0o010 : 0o001;
      if ((mode & bit) === 0) return false;
    }
    if (folder === dirname(folder)) return true;
  }
}

/** The folder itself if the account can reach it, else one for the same purpose that it can. */
export function reachableFolder(folder: string, purpose: string, account: Account | undefined): string {
  return account && !reachable(dirname(folder), account) ? join(OPEN_TO_ALL, purpose) : folder;
}

/** The folder of Postgres's programs, copied to where the account can run them if it cannot where they are. */
export function reachablePrograms(folder: string, version: string, account: Account | undefined): string {
  if (!account || reachable(folder, account)) return folder;
  const copy = join(OPEN_TO_ALL, `postgres-${version}`);
  if (existsSync(copy)) return copy;
  const making = `${copy}.${process.pid}`;
  mkdirSync(OPEN_TO_ALL, { recursive: true, mode: 0o755 });
  try {
    cpSync(folder, making, { recursive: true, verbatimSymlinks: true });
    renameSync(making, copy);
  } catch (error) {
    if (!existsSync(copy)) throw error; // another start was quicker
  } finally {
    rmSync(making, { recursive: true, force: true });
  }
  return copy;
}
