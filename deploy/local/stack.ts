import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { applyTopology, type NotSet } from '../../adapters/temporal/apply.ts';
import { connectTemporal } from '../../adapters/temporal/connection.ts';
import { loadTopology, type Topology } from '../../adapters/temporal/topology.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { openDatabase } from '../../store/database.ts';
import { migrate } from '../../store/migrate.ts';
import { type Cluster, configuredCluster, startLocalCluster } from './kubernetes/cluster.ts';
import { kubernetesPrograms } from './kubernetes/control-plane.ts';
import { takeLock } from './lock.ts';
import { choosePort } from './ports.ts';
import { type LocalPostgres, startLocalPostgres } from './postgres.ts';
import type { Supervisor } from './processes.ts';
import { type LocalPrometheus, startLocalPrometheus, type TargetGroup } from './prometheus.ts';
import { type LocalTemporal, startLocalTemporal } from './temporal.ts';
import { type LocalTemporalUi, startLocalTemporalUi } from './temporal-ui.ts';
import type { Say } from './tools/build.ts';
import { resolveTool } from './tools/resolve.ts';
import { prometheus, type Tool, temporalServer, temporalUi } from './tools/spec.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
export const DEFAULT_STATE = join(ROOT, '.slipway');

export interface StackOptions {
  supervisor: Supervisor;
  /** Folder of everything that survives a restart; `.slipway` in the checkout by default. */
  state?: string;
  /** Begin with an empty state folder, whatever an earlier start has left in it. */
  fresh?: boolean;
  /** `well-known`: the ports that people expect, where they are free. `free`: any, as tests need. */
  ports?: 'well-known' | 'free';
  /** Receives progress, line by line. */
  say: Say;
  /** What the local Prometheus scrapes from the start. */
  targets?: readonly TargetGroup[];
  scrapeIntervalMs?: number;
  /** Servings run on Kubernetes: on that of KUBECONFIG, or on one of this machine whose simulated vLLM gets these variables. */
  kubernetes?: { simulator: Readonly<Record<string, string>> };
  env?: NodeJS.ProcessEnv;
}

/** The running parts. A part is undefined when a configured address stands for it. */
export interface Stack {
  state: string;
  topology: Topology;
  databaseUrl: string;
  postgres: LocalPostgres | undefined;
  temporalAddress: string;
  temporal: LocalTemporal | undefined;
  temporalUi: LocalTemporalUi | undefined;
  prometheusUrl: string;
  prometheus: LocalPrometheus | undefined;
  /** undefined: servings are processes of this machine. */
  cluster: Cluster | undefined;
  /** What temporal.yaml says and a configured Temporal does not have. */
  notSet: readonly NotSet[];
  /** Tells the processes of Slipway where the parts are. */
  env: Readonly<Record<string, string>>;
  /** The port for a part of Slipway itself: the one of the last start, the wanted one, or a free one. */
  port: (name: string, wanted?: number) => Promise<number>;
}

/** Ports by name, kept in the state folder, so that addresses stay the same from start to start. */
function portBook(state: string, kind: 'well-known' | 'free'): Stack['port'] {
  const file = join(state, 'ports.json');
  let book: Record<string, number> = {};
  try {
    book = JSON.parse(readFileSync(file, 'utf8')) as Record<string, number>;
  } catch {
    // The first start.
  }
  return async (name, wanted) => {
    const port = kind === 'free' ? await choosePort(book[name]) : await choosePort(book[name], wanted);
    book = { ...book, [name]: port };
    writeFileSync(file, `${JSON.stringify(book, null, 2)}\n`);
    return port;
  };
}

/** True when the environment says which Temporal to use, in one of the ways of Temporal's own configuration. */
const temporalConfigured = (env: NodeJS.ProcessEnv): boolean =>
  Boolean(env.TEMPORAL_ADDRESS || env.TEMPORAL_PROFILE || env.TEMPORAL_CONFIG_FILE);

const LOCK = '.stack.lock';

function lockState(state: string): void {
  // Held until the process ends: the operating system gives it up.
  if (takeLock(join(state, LOCK))) return;
  throw new SlipwayError('DEPENDENCY_UNAVAILABLE', `Another local stack runs on ${state}`, {
    field: 'state',
    value: state,
    remedy: 'Stop the other one with Ctrl-C, or start this one with another state folder.',
  });
}

/** A folder that holds something and never was a stack's state is somebody's, whom a fresh start would rob. */
function refuseToEmpty(state: string): void {
  const names = readdirSync(state);
  if (names.length === 0 || names.includes(LOCK)) return;
  throw new SlipwayError('INPUT_INVALID', `${state} holds files that are no state of a local stack`, {
    field: 'state',
    value: state,
    remedy: 'Name an empty folder or a new one: a start begins by emptying it',
  });
}

function emptyState(state: string): void {
  for (const name of readdirSync(state)) {
    if (name !== LOCK) rmSync(join(state, name), { recursive: true, force: true });
  }
}

/**
 * The environment of those who connect to the local server. The profile file of its own keeps a temporal.toml of the user, with keys and
 * certificates of another server, out; and `TEMPORAL_CONFIG_FILE=.slipway/temporal.toml temporal workflow list` works.
 */
function localConnection(state: string, address: string, topology: Topology): Record<string, string> {
  const file = join(state, 'temporal.toml');
  const { name } = topology.namespace;
  writeFileSync(
    file,
    `[profile.default]\naddress = ${JSON.stringify(address)}\nnamespace = ${JSON.stringify(name)}\n`,
  );
  return { TEMPORAL_ADDRESS: address, TEMPORAL_CONFIG_FILE: file, TEMPORAL_NAMESPACE: name };
}

async function timed<T>(say: Say, what: (result: T) => string, work: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const result = await work();
  say(`${what(result)} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  return result;
}

/** An address without user and password, for people to read. */
function shownUrl(url: string): string {
  const { host, pathname } = new URL(url);
  return `${host}${pathname}`;
}

/** Gets every program before anything runs: a first start may have to build for minutes. */
async function programsFor(tools: readonly Tool[], say: Say): Promise<Map<Tool, string>> {
  const programs = new Map<Tool, string>();
  for (const tool of tools) programs.set(tool, await resolveTool(tool, { say }));
  return programs;
}

/** Brings up Postgres with the store's migrations, Temporal with its topology and UI, and Prometheus. */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { supervisor, state = DEFAULT_STATE, ports = 'well-known', say, env = process.env } = options;
  mkdirSync(state, { recursive: true });
  if (options.fresh) refuseToEmpty(state);
  lockState(state);
  if (options.fresh) emptyState(state);
  const port = portBook(state, ports);
  const topology = await loadTopology();
  const localTemporal = !temporalConfigured(env);
  const localPrometheus = !env.PROMETHEUS_URL;
  const localCluster = options.kubernetes !== undefined && !env.KUBECONFIG;
  const programs = await programsFor(
    [...(localTemporal ? [temporalServer, temporalUi] : []), ...(localPrometheus ? [prometheus] : [])],
    say,
  );
  const kubernetes = localCluster ? await kubernetesPrograms(say) : undefined;
  const program = (tool: Tool): string => programs.get(tool) ?? tool.name;

  const postgres = env.DATABASE_URL
    ? undefined
    : await timed(
        say,
        ({ url }: LocalPostgres) => `Postgres is up at ${shownUrl(url)}`,
        async () => startLocalPostgres({ supervisor, state, port: await port('postgres', 5432) }),
      );
  const databaseUrl = postgres?.url ?? env.DATABASE_URL ?? '';
  if (!postgres) say(`Postgres is the configured one at ${shownUrl(databaseUrl)}`);
  await applyMigrations(databaseUrl, say);

  const temporal = localTemporal
    ? await timed(
        say,
        ({ address }: LocalTemporal) => `Temporal is up at ${address}`,
        async () =>
          startLocalTemporal({
            supervisor,
            program: program(temporalServer),
            state,
            port: await port('temporal', 7233),
            dynamicConfig: topology.localServer.dynamicConfig,
          }),
      )
    : undefined;
  const connectEnv = temporal ? localConnection(state, temporal.address, topology) : {};
  const { temporalAddress, notSet } = await applyToTemporal(topology, connectEnv, say);

  const ui = temporal
    ? await timed(
        say,
        ({ url }: LocalTemporalUi) => `Temporal UI is up at ${url}`,
        async () =>
          startLocalTemporalUi({
            supervisor,
            program: program(temporalUi),
            state,
            port: await port('temporal-ui', 8233),
            temporalAddress: temporal.address,
            namespace: topology.namespace.name,
          }),
      )
    : undefined;

  const metrics = localPrometheus
    ? await timed(
        say,
        ({ url }: LocalPrometheus) => `Prometheus is up at ${url}`,
        async () =>
          startLocalPrometheus({
            supervisor,
            program: program(prometheus),
            state,
            port: await port('prometheus', 9090),
            ...(options.targets ? { targets: options.targets } : {}),
            ...(options.scrapeIntervalMs ? { scrapeIntervalMs: options.scrapeIntervalMs } : {}),
          }),
      )
    : undefined;
  const prometheusUrl = metrics?.url ?? env.PROMETHEUS_URL ?? '';
  if (!metrics) say(`Prometheus is the configured one at ${shownUrl(prometheusUrl)}`);

  const clusterOf = async (): Promise<Cluster | undefined> => {
    if (options.kubernetes === undefined) return undefined;
    if (kubernetes === undefined) return configuredCluster(env, say);
    return timed(
      say,
      ({ url, nodes }: Cluster) => `Kubernetes is up at ${url} with ${nodes} simulated GPU nodes`,
      async () =>
        startLocalCluster({
          supervisor,
          programs: kubernetes,
          state,
          port: await port('kubernetes', 6443),
          env: options.kubernetes?.simulator ?? {},
        }),
    );
  };

  return {
    state,
    topology,
    cluster: await clusterOf(),
    databaseUrl,
    postgres,
    temporalAddress,
    temporal,
    temporalUi: ui,
    prometheusUrl,
    prometheus: metrics,
    notSet,
    env: {
      DATABASE_URL: databaseUrl,
      ...connectEnv,
      PROMETHEUS_URL: prometheusUrl,
      SLIPWAY_STATE_DIR: state,
    },
    port,
  };
}

async function applyMigrations(databaseUrl: string, say: Say): Promise<void> {
  const database = openDatabase(databaseUrl, { max: 1, applicationName: 'slipway-migrations' });
  try {
    const applied = await migrate(database);
    if (applied.length > 0) say(`Migrations applied: ${applied.join(', ')}`);
  } finally {
    await database.end();
  }
}

async function applyToTemporal(
  topology: Topology,
  env: Record<string, string>,
  say: Say,
): Promise<{ temporalAddress: string; notSet: NotSet[] }> {
  const connection = await connectTemporal(env);
  const temporalAddress = connection.options.address;
  try {
    const local = 'TEMPORAL_ADDRESS' in env;
    if (!local) say(`Temporal is the configured one at ${temporalAddress}`);
    const { changed, notSet } = await applyTopology(topology, connection, { localServer: local });
    for (const line of changed) say(`temporal.yaml: ${line}`);
    for (const { field, why, remedy } of notSet) say(`temporal.yaml: ${field} is not set: ${why}. ${remedy}`);
    return { temporalAddress, notSet };
  } finally {
    await connection.close();
  }
}
