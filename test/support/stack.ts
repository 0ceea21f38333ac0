/**
 * Real parts for integration tests. Run through test/run.ts, the test files share one Postgres and one Temporal server, and each call gets
 * a database or a namespace of its own in them; run alone, a test file starts its own. Prometheus is always its own.
 * Call `stop()` in an `after` hook; what a killed test leaves behind is ended by the supervisor's reaper.
 */
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { applyTopology } from '../../adapters/temporal/apply.ts';
import { loadTopology, type Topology } from '../../adapters/temporal/topology.ts';
import { freePort } from '../../deploy/local/ports.ts';
import { runSql, startLocalPostgres } from '../../deploy/local/postgres.ts';
import { type ManagedProcess, Supervisor } from '../../deploy/local/processes.ts';
import {
  type LocalPrometheus,
  startLocalPrometheus,
  type TargetGroup,
} from '../../deploy/local/prometheus.ts';
import { startLocalTemporal } from '../../deploy/local/temporal.ts';
import { resolveTool } from '../../deploy/local/tools/resolve.ts';
import { prometheus, temporalServer } from '../../deploy/local/tools/spec.ts';
import { migrate } from '../../store/migrate.ts';

export const SHARED_DATABASE = 'SLIPWAY_TEST_DATABASE_URL';
export const SHARED_TEMPORAL = 'SLIPWAY_TEST_TEMPORAL_ADDRESS';
export const SHARED_KUBECONFIG = 'SLIPWAY_TEST_KUBECONFIG';

/** A folder of its own that other accounts may enter, as Postgres needs when the tests run as root. */
export function temporaryFolder(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'slipway-test-'));
  chmodSync(path, 0o755);
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

const say = (line: string): void => console.error(line);

export interface TestPostgres {
  /** A fresh database, with the store's migrations unless it was asked to be empty. */
  url: string;
  /** The server's process when the test started its own, for fault tests; undefined when it shares one. */
  process: ManagedProcess | undefined;
  stop: () => Promise<void>;
}

export interface TestPostgresOptions {
  /** No migrations: for tests of the migrations. */
  empty?: boolean;
  /** A server of its own even under test/run.ts: for tests that stop it. */
  own?: boolean;
  /** Keeps what Postgres promises when a process dies; slower. */
  durable?: boolean;
}

const TEMPLATE = 'slipway_test_template';

/** Once per server: an empty database with the migrations, of which the tests' databases are copies. */
async function ensureTemplate(server: string): Promise<void> {
  const maintenance = databaseUrl(server, 'postgres');
  const client = new pg.Client({ connectionString: maintenance });
  await client.connect();
  try {
    await client.query(`select pg_advisory_lock(hashtext('${TEMPLATE}'))`);
    const { rowCount } = await client.query(
      `select 1 from pg_database where datname = $1 and datistemplate`,
      [TEMPLATE],
    );
    if (rowCount) return;
    await client.query(`drop database if exists ${TEMPLATE} with (force)`);
    await client.query(`create database ${TEMPLATE}`);
    const pool = new pg.Pool({ connectionString: databaseUrl(server, TEMPLATE), max: 2 });
    try {
      await migrate(pool);
    } finally {
      await pool.end();
    }
    await client.query(`alter database ${TEMPLATE} is_template true`);
  } finally {
    await client.end();
  }
}

function databaseUrl(server: string, database: string): string {
  const url = new URL(server);
  url.pathname = `/${database}`;
  return url.toString();
}

async function createDatabase(server: string, empty: boolean): Promise<string> {
  if (!empty) await ensureTemplate(server);
  const name = `test_${randomBytes(6).toString('hex')}`;
  await runSql(
    databaseUrl(server, 'postgres'),
    `create database ${name} ${empty ? '' : `template ${TEMPLATE}`}`,
  );
  return databaseUrl(server, name);
}

/** Ends what has been started when the rest does not start: a test file would wait for it for ever. */
export async function orNothing<T>(supervisor: Supervisor, starting: Promise<T>): Promise<T> {
  try {
    return await starting;
  } catch (error) {
    await supervisor.stopAll();
    throw error;
  }
}

/** A fresh database. */
export async function startPostgres(options: TestPostgresOptions = {}): Promise<TestPostgres> {
  const { empty = false, own = false, durable = false } = options;
  const shared = process.env[SHARED_DATABASE];
  if (shared && !own) {
    const url = await createDatabase(shared, empty);
    const drop = `drop database if exists ${new URL(url).pathname.slice(1)} with (force)`;
    return {
      url,
      process: undefined,
      stop: async () => void (await runSql(databaseUrl(shared, 'postgres'), drop)),
    };
  }
  const folder = temporaryFolder();
  const supervisor = new Supervisor();
  const port = await freePort();
  const starting = startLocalPostgres({ supervisor, state: folder.path, port, volatile: !durable });
  const server = await orNothing(supervisor, starting);
  const stop = async (): Promise<void> => {
    await supervisor.stopAll();
    folder.remove();
  };
  return { url: await createDatabase(server.url, empty), process: server.process, stop };
}

export interface TestTemporal {
  /** `HOST:PORT` of the frontend. */
  address: string;
  /** A fresh namespace with the topology's search attributes, usable. */
  namespace: string;
  taskQueue: string;
  topology: Topology;
  /** Connected to the address. */
  connection: Connection;
  /** The server's process when the test started its own, for fault tests; undefined when it shares one. */
  process: ManagedProcess | undefined;
  stop: () => Promise<void>;
}

export interface TestTemporalOptions {
  /** A server of its own even under test/run.ts: for tests that stop it. */
  own?: boolean;
  /** A bare server without a namespace of the topology: for tests of applying it. */
  bare?: boolean;
}

/** A fresh namespace on a real server that can skip time. */
export async function startTemporal(options: TestTemporalOptions = {}): Promise<TestTemporal> {
  const { own = false, bare = false } = options;
  // Without its schedules, whose runs nobody in a test would wait for: a test starts reaper and sweeper itself.
  const { reaper: _reaper, sweeper: _sweeper, ...repositorys } = await loadTopology();
  const namespace = `test-${randomBytes(6).toString('hex')}`;
  const topology = { ...repositorys, namespace: { ...repositorys.namespace, name: namespace } };
  const shared = process.env[SHARED_TEMPORAL];
  const server = shared && !own ? { address: shared } : await ownTemporal(topology);
  const connection = await Connection.connect({ address: server.address });
  if (!bare) await applyTopology(topology, connection, { localServer: true });
  return {
    address: server.address,
    namespace,
    taskQueue: topology.taskQueue.name,
    topology,
    connection,
    process: 'process' in server ? server.process : undefined,
    stop: async () => {
      await connection.close();
      if ('stop' in server) await server.stop();
    },
  };
}

async function ownTemporal(
  topology: Topology,
): Promise<{ address: string; process: ManagedProcess; stop: () => Promise<void> }> {
  const program = await resolveTool(temporalServer, { say });
  const folder = temporaryFolder();
  const supervisor = new Supervisor();
  const starting = startLocalTemporal({
    supervisor,
    program,
    state: folder.path,
    port: await freePort(),
    dynamicConfig: topology.localServer.dynamicConfig,
    volatile: true,
  });
  const server = await orNothing(supervisor, starting);
  const stop = async (): Promise<void> => {
    await supervisor.stopAll();
    folder.remove();
  };
  return { ...server, stop };
}

export interface TestPrometheus extends LocalPrometheus {
  stop: () => Promise<void>;
}

/** A Prometheus of its own that scrapes the targets (which can be replaced later) every second, or as often as asked. */
export async function startPrometheus(
  targets: readonly TargetGroup[] = [],
  { scrapeIntervalMs = 1000 }: { scrapeIntervalMs?: number } = {},
): Promise<TestPrometheus> {
  const program = await resolveTool(prometheus, { say });
  const folder = temporaryFolder();
  const supervisor = new Supervisor();
  const port = await freePort();
  const state = folder.path;
  const starting = startLocalPrometheus({ supervisor, program, state, port, scrapeIntervalMs, targets });
  const started = await orNothing(supervisor, starting);
  const stop = async (): Promise<void> => {
    await supervisor.stopAll();
    folder.remove();
  };
  return { ...started, stop };
}
