import { Client } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import { pino } from 'pino';
import type { ReleaseActivities } from '../../activities/contract.ts';
import { mirroringProgress } from '../../activities/progress.ts';
import { createReleaseActivities } from '../../activities/releases.ts';
import { createTrafficActivities } from '../../activities/traffic.ts';
import { notYet } from '../../activities/watch.ts';
import { type RunningApi, startApi } from '../../api/server.ts';
import { parseClusterSettings } from '../../domain/kubernetes/settings.ts';
import type { Role } from '../../domain/words.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { newKey, saveApiKey } from '../../store/keys.ts';
import { createWorker, installRuntime } from '../../workers/worker.ts';
import { alwaysReady } from '../support/releases.ts';
import { startPostgres, startTemporal } from '../support/stack.ts';

export const roles = ['engineer', 'approver', 'auditor', 'admin'] as const satisfies readonly Role[];

/** What a test can decide about the release while it runs. */
export interface World {
  /** What the horizon's judgement says; null: not yet. */
  verdict: 'promote' | 'rollback' | null;
}

export interface ApiFixture {
  api: RunningApi;
  /** A second replica on the same database and Temporal; nobody told it of a cluster. */
  replica: RunningApi;
  db: Database;
  world: World;
  keys: Record<Role, string>;
  /** Every line that the API logged. */
  logs: string[];
  namespace: string;
  client: Client;
  startWorker(): Promise<void>;
  stopWorker(): Promise<void>;
  stop(): Promise<void>;
}

export const evidence = `sha256:${'e'.repeat(64)}`;

const cluster = parseClusterSettings(`
namespace: models
image: vllm/vllm-openai@sha256:${'0'.repeat(64)}
gpus: { L4: { nodeSelector: { pool: l4 } } }
autoscaling: { prometheusUrl: 'http://prometheus:9090' }
`);

/** The API on a real Postgres and Temporal, and a worker with the real workflow and registration; the rest of the world is well. */
export async function startApiFixture(): Promise<ApiFixture> {
  installRuntime(silent);
  const [postgres, temporal] = await Promise.all([startPostgres(), startTemporal()]);
  const db = openDatabase(postgres.url);
  const world: World = { verdict: null };
  const connection = await NativeConnection.connect({ address: temporal.address });
  let stopWorker = async () => {};
  const startWorker = async () => {
    const worker = await createWorker({
      connection,
      topology: temporal.topology,
      activities: mirroringProgress(db, {
        ...calmWorld(world),
        ...createReleaseActivities({ db, log: silent }),
        ...createTrafficActivities({ db, adapter: alwaysReady(db), log: silent }),
      }),
    });
    const running = worker.run();
    stopWorker = async () => {
      stopWorker = async () => {};
      worker.shutdown();
      await running;
    };
  };
  await startWorker();
  const logs: string[] = [];
  const options = {
    databaseUrl: postgres.url,
    temporal: temporal.connection,
    namespace: temporal.namespace,
    taskQueue: temporal.taskQueue,
    port: 0,
    logger: pino({ level: 'trace' }, { write: (line: string) => void logs.push(line) }),
  };
  const keys = { engineer: newKey(), approver: newKey(), auditor: newKey(), admin: newKey() };
  for (const role of roles) await saveApiKey(db, keys[role], { name: role, role });
  const api = await startApi({ ...options, cluster });
  const replica = await startApi(options);
  return {
    api,
    replica,
    db,
    world,
    keys,
    logs,
    namespace: temporal.namespace,
    client: new Client({ connection: temporal.connection, namespace: temporal.namespace }),
    startWorker,
    stopWorker: () => stopWorker(),
    async stop() {
      await api.stop();
      await replica.stop();
      await stopWorker();
      await connection.close();
      await db.end();
      await temporal.stop();
      await postgres.stop();
    },
  };
}

const silent = pino({ level: 'silent' });

function calmWorld(world: World): Omit<ReleaseActivities, 'registerRelease' | 'endRelease' | 'moveTraffic'> {
  return {
    checkPreflight: async () => ({ passed: true, summary: 'all well' }),
    evaluateCandidate: async () => ({ passed: true, summary: '30 of 30', digest: evidence }),
    provideServing: async () => {},
    removeServing: async () => {},
    planGate: async () => ({ passed: true, summary: 'seven days' }),
    watchGuards: async () => {
      throw notYet('guards ok', 200);
    },
    judgeCanary: async () => {
      if (world.verdict === null) throw notYet('412 of 1000 samples', 100);
      return { decision: world.verdict, evidence, summary: 'not worse' };
    },
    holdCanary: async () => {},
    notify: async () => {},
  };
}
