import { setTimeout as delay } from 'node:timers/promises';
import pino from 'pino';
import { keepServings } from '../activities/serving.ts';
import { judgeFromEnvironment } from '../adapters/judge/environment.ts';
import { createPrometheus } from '../adapters/prometheus/prometheus.ts';
import { servingFromEnvironment } from '../adapters/serving/environment.ts';
import { temporalConfig } from '../adapters/temporal/connection.ts';
import { loadTopology } from '../adapters/temporal/topology.ts';
import { errorForLog, fatalForLog } from '../domain/error-for-log.ts';
import { requiredSetting } from '../domain/settings.ts';
import { openDatabase } from '../store/database.ts';
import { createActivities } from './activities.ts';
import { bundleWorkflows, connectWorker, createWorker, installRuntime } from './worker.ts';

const log = pino({ name: 'worker' });
const env = process.env;

/** The worker process: connections come from the environment, namespace and limits from temporal.yaml. */
async function main(): Promise<void> {
  const databaseUrl = requiredSetting(env, 'DATABASE_URL', 'Set it to postgres://…');
  const prometheusUrl = requiredSetting(
    env,
    'PROMETHEUS_URL',
    'Set it to the Prometheus that scrapes the gateways',
  );
  installRuntime(log, env.SLIPWAY_WORKER_METRICS_ADDRESS);
  const topology = await loadTopology();
  const db = openDatabase(databaseUrl, { applicationName: 'slipway-worker' });
  const { adapter: serving, keepEveryMs } = await servingFromEnvironment(env, log);
  const outside = {
    db,
    serving,
    prometheus: createPrometheus({ url: prometheusUrl }),
    judge: judgeFromEnvironment(env),
    webhookSecret: env.SLIPWAY_WEBHOOK_SECRET,
    // A key from a file often ends with a line break; an empty one is none.
    vllmApiKey: env.SLIPWAY_VLLM_API_KEY?.trim() || undefined,
  };
  const connection = await connectWorker(temporalConfig().connectionOptions);
  const worker = await createWorker({
    connection,
    topology,
    activities: createActivities(outside, log),
    bundle: await bundleWorkflows(log),
    buildId: env.SLIPWAY_BUILD_ID || undefined,
  });
  const stopping = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stopping.abort();
      worker.shutdown();
    });
  }
  const inHand = new Set<string>();
  const keeping = keep(
    () => keepServings({ db, adapter: serving, log }, inHand),
    stopping.signal,
    keepEveryMs,
    (error) => log.warn(errorForLog(error), 'servings could not be looked after; trying again'),
  );
  log.info({ namespace: topology.namespace.name, taskQueue: topology.taskQueue.name }, 'worker started');
  await worker.run();
  stopping.abort();
  await keeping;
  await db.end();
  // An open connection keeps the process alive after everything has drained, until somebody kills it.
  await connection.close();
}

/** Repeats the work until the signal; what it throws is told and changes nothing. */
async function keep(
  work: () => Promise<void>,
  signal: AbortSignal,
  everyMs: number,
  failed: (error: unknown) => void,
): Promise<void> {
  while (!signal.aborted) {
    await work().catch(failed);
    await delay(everyMs, undefined, { signal }).catch(() => {});
  }
}

try {
  await main();
} catch (error) {
  log.fatal(fatalForLog(error), 'the worker cannot work');
  process.exit(1);
}
