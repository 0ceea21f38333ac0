import { pino } from 'pino';
import { loadClusterSettings } from '../adapters/kubernetes/cluster-file.ts';
import { connectTemporal } from '../adapters/temporal/connection.ts';
import { loadTopology } from '../adapters/temporal/topology.ts';
import { fatalForLog } from '../domain/error-for-log.ts';
import { portSetting, requiredSetting } from '../domain/settings.ts';
import { startApi } from './server.ts';

/**
 * The API as a process. Environment: DATABASE_URL; SLIPWAY_API_PORT (8080) and SLIPWAY_API_HOST (127.0.0.1);
 * SLIPWAY_BOOTSTRAP_ADMIN_KEY; SLIPWAY_CLUSTER_FILE, for manifests; TEMPORAL_ADDRESS and the rest of Temporal's environment configuration.
 */
const log = pino({ name: 'slipway-api' });

try {
  const databaseUrl = requiredSetting(process.env, 'DATABASE_URL', 'Set it to postgres://…');
  const port = portSetting(process.env, 'SLIPWAY_API_PORT', 8080);
  const cluster = await loadClusterSettings(process.env);
  const topology = await loadTopology();
  const temporal = await connectTemporal();
  const api = await startApi({
    databaseUrl,
    temporal,
    namespace: topology.namespace.name,
    taskQueue: topology.taskQueue.name,
    cluster,
    port,
    host: process.env.SLIPWAY_API_HOST ?? '127.0.0.1',
    bootstrapAdminKey: process.env.SLIPWAY_BOOTSTRAP_ADMIN_KEY,
    logger: log,
  });
  log.info({ url: api.url }, 'the API listens');
  const stop = async () => {
    await api.stop();
    await temporal.close();
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => void stop());
} catch (error) {
  log.fatal(fatalForLog(error), 'the API cannot start');
  process.exitCode = 1;
}
