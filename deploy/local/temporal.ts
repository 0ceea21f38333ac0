import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import { stringify } from 'yaml';
import { checkDynamicConfig, type DynamicConfig, renderDynamicConfig } from './dynamic-config.ts';
import { freePort } from './ports.ts';
import type { ManagedProcess, Supervisor } from './processes.ts';

export interface TemporalOptions {
  supervisor: Supervisor;
  /** The server's program. */
  program: string;
  /** Folder that keeps the database, the generated config and the log. */
  state: string;
  /** Port of the frontend's gRPC service. */
  port: number;
  dynamicConfig: DynamicConfig;
  /** Gives up durability for speed: for tests. */
  volatile?: boolean;
}

export interface LocalTemporal {
  address: string;
  process: ManagedProcess;
}

function store(file: string, volatile: boolean): object {
  return {
    sql: {
      pluginName: 'sqlite',
      databaseName: file,
      connectAddr: 'localhost',
      connectProtocol: 'tcp',
      connectAttributes: {
        cache: 'private',
        setup: true, // creates the schema in a new file, leaves an existing one as it is
        journal_mode: 'wal',
        // 1 loses nothing when a process dies, only when the machine does.
        synchronous: volatile ? 0 : 1,
      },
      maxConns: 1,
      maxIdleConns: 1,
      maxConnLifetime: '1h',
    },
  };
}

async function serverConfig({ state, port, volatile = false }: TemporalOptions): Promise<object> {
  const database = store(join(state, 'temporal.db'), volatile);
  const service = async (grpcPort: number): Promise<object> => ({
    rpc: { grpcPort, membershipPort: await freePort(), bindOnLocalHost: true },
  });
  return {
    log: { stdout: true, level: 'warn' },
    persistence: {
      defaultStore: 'sqlite',
      visibilityStore: 'sqlite',
      numHistoryShards: 1,
      datastores: { sqlite: database },
    },
    global: { membership: { maxJoinDuration: '30s', broadcastAddress: '127.0.0.1' } },
    services: {
      frontend: await service(port),
      matching: await service(await freePort()),
      history: await service(await freePort()),
      worker: await service(await freePort()),
    },
    clusterMetadata: {
      enableGlobalNamespace: false,
      failoverVersionIncrement: 10,
      masterClusterName: 'active',
      currentClusterName: 'active',
      clusterInformation: {
        active: {
          enabled: true,
          initialFailoverVersion: 1,
          rpcName: 'frontend',
          rpcAddress: `127.0.0.1:${port}`,
        },
      },
    },
    publicClient: { hostPort: `127.0.0.1:${port}` },
    dcRedirectionPolicy: { policy: 'noop' },
    dynamicConfigClient: { filepath: join(state, 'dynamic-config.yaml'), pollInterval: '10s' },
  };
}

async function serves(address: string): Promise<boolean> {
  const connection = await Connection.connect({ address, connectTimeout: 1000 });
  try {
    const service = 'temporal.api.workflowservice.v1.WorkflowService';
    const { status } = await connection.healthService.check({ service });
    if (status !== 1) return false;
    // The frontend says it serves before it has found history and matching.
    await connection.workflowService.describeNamespace({ namespace: 'temporal-system' });
    return true;
  } finally {
    await connection.close();
  }
}

/** Starts a Temporal server with its four services in one process on a SQLite file that survives. */
export async function startLocalTemporal(options: TemporalOptions): Promise<LocalTemporal> {
  const { supervisor, program, state, port, volatile = false } = options;
  mkdirSync(state, { recursive: true });
  const configFile = join(state, 'server.yaml');
  writeFileSync(configFile, stringify(await serverConfig(options)));
  const dynamicConfigFile = join(state, 'dynamic-config.yaml');
  writeFileSync(dynamicConfigFile, renderDynamicConfig(options.dynamicConfig));
  await checkDynamicConfig(program, dynamicConfigFile, options.dynamicConfig);
  const address = `127.0.0.1:${port}`;
  const server = await supervisor.start({
    name: 'Temporal server',
    command: program,
    args: ['--config-file', configFile, '--allow-no-auth', 'start'],
    cwd: state,
    logFile: join(state, 'logs', 'temporal-server.log'),
    ready: () => serves(address),
    readyTimeoutMs: 120_000,
    // Stopped soon after a start, the server waits long for its own system workers; what it has committed is safe either way.
    graceMs: volatile ? 500 : 3000,
  });
  return { address, process: server };
}
