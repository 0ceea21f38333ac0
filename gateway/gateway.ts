import { mkdirSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { EndpointSource } from '../adapters/endpoints/endpoints.ts';
import { errorForLog } from '../domain/error-for-log.ts';
import { openDatabase } from '../store/database.ts';
import { forgetUnmatchedScores } from '../store/ledger.ts';
import { Endpoints } from './endpoints.ts';
import { Metrics } from './metrics.ts';
import { type Address, serveMetrics, urlOf } from './metrics-server.ts';
import { inUseNow } from './replicas.ts';
import { RouteFollower } from './route-follower.ts';
import { makeServer } from './server.ts';
import { Mover } from './spool/mover.ts';
import { Spool } from './spool/spool.ts';
import { StateFolder } from './state.ts';
import { TenantKeys } from './tenant-keys.ts';
import { Upstream, type UpstreamLimits } from './upstream.ts';

const defaultLimits: UpstreamLimits = {
  connectTimeout: 2_000,
  silenceTimeout: 120_000,
  retryWithin: 120_000,
};
const SPOOL_BYTES = 256 * 1024 * 1024;
/** Between two looks for what is no longer needed: scores without a sample, series of what went out of use. */
const FORGET_EVERY_MS = 600_000;
/** Long enough for the largest batch, short enough to notice a database that fell silent. */
const QUERY_TIMEOUT_MS = 30_000;
/** A request that has not ended this long after the gateway was asked to stop is broken off. */
const DRAIN_MS = 30_000;

export interface GatewayOptions {
  databaseUrl: string;
  /** Folder for the spool, the last route table and the tenants' keys; one gateway's own. */
  stateFolder: string;
  /** Keys the hashes of users; the same on every replica, for ever. */
  userSecret: string;
  logger: Logger;
  /** 0 or left out: any free port. */
  port?: number | undefined;
  host?: string | undefined;
  /** Where Prometheus scrapes; left out: any free port of this machine. */
  metrics?: Address | undefined;
  /** Bytes of unmoved records before new requests are refused. */
  spoolBytes?: number | undefined;
  limits?: Partial<UpstreamLimits> | undefined;
  /** Says where replicas are, fresher than the route table; the gateway starts and stops it. Left out: the table alone does. */
  cluster?: EndpointSource | undefined;
  /** What the engines ask of their callers (vLLM's --api-key). */
  vllmApiKey?: string | undefined;
  /** ms without the route table before only stable arms serve; left out: 30 s. */
  stableOnlyAfter?: number | undefined;
  drainTimeout?: number | undefined;
}

export interface Gateway {
  /** Base URL, without a trailing slash. */
  url: string;
  /** Where its metrics are. */
  metricsUrl: string;
  id: string;
  /** Drains, moves the spool, gives the lease back. */
  stop: () => Promise<void>;
}

/** Starts a gateway. Resolves when it serves, with whatever route table it could get. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { logger } = options;
  const state = new StateFolder(options.stateFolder);
  const gatewayId = state.gatewayId();
  const metrics = new Metrics();
  const connect = (max: number) =>
    openDatabase(options.databaseUrl, {
      max,
      applicationName: `slipway gateway ${gatewayId}`,
      queryTimeout: QUERY_TIMEOUT_MS,
    });
  // One for the mover, one for the keys: what tenants send must not stand between the spool and the ledger.
  const database = connect(2);
  const ofTenants = connect(2);
  const routes = new RouteFollower({
    databaseUrl: options.databaseUrl,
    gatewayId,
    state,
    metrics,
    logger,
    stableOnlyAfter: options.stableOnlyAfter,
  });
  const tenants = new TenantKeys(database, state, logger);
  const limits = { ...defaultLimits, ...options.limits };
  const endpoints = new Endpoints();
  const upstream = new Upstream({
    ...limits,
    apiKey: options.vllmApiKey,
    onBegin: (endpoint) => endpoints.begin(endpoint),
    onEnd: (endpoint) => endpoints.end(endpoint),
  });
  const cluster = options.cluster ?? null;
  if (cluster !== null) metrics.followCluster(cluster);
  mkdirSync(state.file('spool'), { recursive: true });
  const spool = new Spool({ folder: state.file('spool'), maxBytes: options.spoolBytes ?? SPOOL_BYTES });
  metrics.followSpool(spool);
  const mover = new Mover({
    spool,
    database,
    refusedFile: state.file('refused.jsonl'),
    logger,
    onMoved: (moved) => {
      for (const [result, n] of Object.entries(moved)) metrics.spoolRecords.inc({ result }, n);
    },
  });
  let accepting = true;
  const server = makeServer({
    routes,
    tenants,
    cluster,
    endpoints,
    retryWithin: limits.retryWithin,
    spool,
    upstream,
    metrics,
    logger,
    database: ofTenants,
    userSecret: options.userSecret,
    accepting: () => accepting,
  });

  const scraped = await serveMetrics(metrics, options.metrics ?? { host: '127.0.0.1', port: 0 });
  await Promise.all([routes.start(), tenants.start(), cluster?.start()]);
  mover.start();
  const forget = async (): Promise<void> => {
    const { table, published } = routes;
    if (table !== null) await metrics.forget(inUseNow(table, published, cluster), performance.now());
    await forgetUnmatchedScores(ofTenants);
  };
  const forgetting = setInterval(() => {
    forget().catch((error: unknown) =>
      logger.warn(errorForLog(error), 'what is not needed any more could not be forgotten; trying again'),
    );
  }, FORGET_EVERY_MS);
  await server.listen({ port: options.port ?? 0, host: options.host ?? '127.0.0.1' });
  const url = urlOf(server.server);
  logger.info({ url, metrics: scraped.url, gateway: gatewayId }, 'the gateway serves');

  const stop = async (): Promise<void> => {
    accepting = false;
    const closed = server.close();
    // A connection that becomes idle while others are still served.
    const closing = setInterval(() => server.server.closeIdleConnections(), 50);
    const drained = await Promise.race([
      closed.then(() => true),
      sleep(options.drainTimeout ?? DRAIN_MS, false, { ref: false }),
    ]);
    if (!drained) {
      server.server.closeAllConnections();
      await closed;
    }
    clearInterval(closing);
    clearInterval(forgetting);
    tenants.stop();
    await mover.stop();
    spool.close();
    await Promise.all([routes.stop(), cluster?.stop()]);
    upstream.close();
    await Promise.all([database.end(), ofTenants.end()]);
    await scraped.stop();
    state.unlock();
    logger.info({ gateway: gatewayId }, 'the gateway has stopped');
  };
  return { url, metricsUrl: scraped.url, id: gatewayId, stop };
}
