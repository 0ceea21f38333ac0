import { Client, type Connection } from '@temporalio/client';
import Fastify, { type FastifyBaseLogger, type FastifyInstance } from 'fastify';
import { type Logger, pino } from 'pino';
import type { ClusterSettings } from '../domain/kubernetes/settings.ts';
import { openDatabase } from '../store/database.ts';
import { saveApiKey } from '../store/keys.ts';
import { guardAccess } from './access.ts';
import type { ApiContext } from './context.ts';
import { answerErrors, answerFrameworkError } from './errors.ts';
import { describeRoutes } from './openapi.ts';
import { decisionRoutes } from './routes/decisions.ts';
import { documentRoutes } from './routes/documents.ts';
import { gateRoutes } from './routes/gate.ts';
import { keyRoutes } from './routes/keys.ts';
import { reapingRoutes } from './routes/reaping.ts';
import { releaseRoutes } from './routes/releases.ts';
import { revisionRoutes } from './routes/revisions.ts';
import { systemRoutes } from './routes/system.ts';
import { watchRoutes } from './routes/watch.ts';

const VERSION = '0.1.0';

/** What a stopping API gives the requests in flight. */
const GRACE_MS = 2_000;

/** Largest body, for golden sets of some thousand cases. */
const BODY_BYTES = 8 * 2 ** 20;

export interface ApiOptions {
  databaseUrl: string;
  /** Connected; the caller closes it. */
  temporal: Connection;
  namespace: string;
  taskQueue: string;
  /** Left out: manifests show the default settings. */
  cluster?: ClusterSettings | null;
  /** 0: any free port. */
  port: number;
  host?: string;
  /** Makes sure that this key is an admin's, so that there is one to make the others with. */
  bootstrapAdminKey?: string | undefined;
  logger?: Logger;
}

export interface RunningApi {
  url: string;
  /** Ends watches, answers what is in flight, then closes the database. */
  stop(): Promise<void>;
}

/** Starts the API. It keeps no state: any number of replicas may run. */
export async function startApi(options: ApiOptions): Promise<RunningApi> {
  const database = openDatabase(options.databaseUrl, { applicationName: 'slipway-api' });
  try {
    if (options.bootstrapAdminKey !== undefined) {
      await saveApiKey(database, options.bootstrapAdminKey, { name: 'bootstrap', role: 'admin' });
    }
    const app = await buildApi(
      {
        database,
        temporal: new Client({ connection: options.temporal, namespace: options.namespace }),
        taskQueue: options.taskQueue,
        cluster: options.cluster ?? null,
      },
      options.logger ?? pino({ name: 'slipway-api' }),
    );
    const url = await app.listen({ port: options.port, host: options.host ?? '127.0.0.1' });
    return {
      url,
      stop: async () => {
        // A connection that never asked anything would be waited for until its keep-alive ends.
        const patience = setTimeout(() => app.server.closeAllConnections(), GRACE_MS);
        await app.close();
        clearTimeout(patience);
        await database.end();
      },
    };
  } catch (error) {
    await database.end();
    throw error;
  }
}

/** The API without a port. */
export async function buildApi(context: ApiContext, logger: Logger): Promise<FastifyInstance> {
  const app: FastifyInstance = Fastify({
    loggerInstance: logger as FastifyBaseLogger,
    bodyLimit: BODY_BYTES,
    frameworkErrors: answerFrameworkError,
    forceCloseConnections: 'idle',
    routerOptions: { maxParamLength: 300 },
  });
  answerErrors(app);
  guardAccess(app, context.database);
  await describeRoutes(app, VERSION);
  for (const routes of [
    systemRoutes,
    keyRoutes,
    documentRoutes,
    releaseRoutes,
    decisionRoutes,
    gateRoutes,
    reapingRoutes,
    revisionRoutes,
    watchRoutes,
  ]) {
    await app.register(routes(context));
  }
  await app.ready();
  return app;
}
