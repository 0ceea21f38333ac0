import { performance } from 'node:perf_hooks';
import Fastify, { type FastifyInstance } from 'fastify';
import { errorForLog } from '../domain/error-for-log.ts';
import { type ErrorCode, SlipwayError } from '../domain/errors.ts';
import type { Database } from '../store/database.ts';
import { type ChatParts, serveChat } from './chat.ts';
import { giveFeedback, giveScore } from './feedback.ts';
import type { Refusal } from './metrics.ts';
import { asSlipwayError, openAiError } from './openai-errors.ts';
import { newRequestId } from './request-id.ts';
import type { TenantKeys } from './tenant-keys.ts';
import { TenantLimit } from './tenant-limit.ts';

const LARGEST_BODY = 10 * 1024 * 1024;
const LARGEST_SCORE = 64 * 1024;

export interface ServerParts extends ChatParts {
  tenants: TenantKeys;
  /** For what tenants send besides chat requests. */
  database: Database;
  /** The gateway takes new requests: false once it drains. */
  accepting: () => boolean;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Arrival: ms since 1970, and on the monotonic clock. */
    at: number;
    started: number;
    /** Whose key the request has; empty where none is asked. */
    tenant: string;
  }
}

/** What is answered without a key. */
const withoutKey: readonly (string | undefined)[] = ['/healthz', '/readyz'];

const refusals: Partial<Record<ErrorCode, Refusal>> = {
  UNAUTHENTICATED: 'unauthenticated',
  REQUEST_INVALID: 'invalid_request',
  MODEL_NOT_FOUND: 'unknown_application',
  SPOOL_FULL: 'spool_full',
};

/** OpenAI's API in front of the arms. */
export function makeServer(parts: ServerParts): FastifyInstance {
  const { tenants, routes, metrics, logger, accepting } = parts;
  const server = Fastify({
    logger: false,
    bodyLimit: LARGEST_BODY,
    // A connection that is kept alive while the gateway drains is answered, and then closed.
    return503OnClosing: false,
    forceCloseConnections: false,
    genReqId: () => newRequestId(Date.now()),
    requestIdHeader: false,
    keepAliveTimeout: 72_000,
  });
  server.decorateRequest('at', 0);
  server.decorateRequest('started', 0);
  server.decorateRequest('tenant', '');
  server.addHook('onRequest', (request, reply, done) => {
    request.at = Date.now();
    request.started = performance.now();
    reply.header('x-request-id', request.id);
    if (!accepting()) reply.raw.shouldKeepAlive = false;
    done();
  });
  // Before a byte of the body is read: who has no key costs neither memory nor time.
  server.addHook('onRequest', async (request) => {
    if (request.is404) {
      throw new SlipwayError('NOT_FOUND', `there is no ${request.method} ${request.url.split('?')[0]}`, {
        remedy: 'The gateway has /v1/chat/completions, /v1/models, /v1/feedback and /v1/scores',
      });
    }
    if (withoutKey.includes(request.routeOptions.url)) return;
    request.tenant = await tenants.authenticate(request.headers.authorization);
  });
  server.setErrorHandler((thrown, request, reply) => {
    const error = asSlipwayError(thrown);
    if (error.code === 'INTERNAL') {
      logger.error({ request: request.id, ...errorForLog(error.cause ?? error) }, 'the gateway failed');
    }
    if (request.url.startsWith('/v1/chat/')) {
      const refusal = refusals[error.code];
      if (refusal !== undefined) metrics.refused(refusal);
    }
    if (error.status === 503 || error.status === 429) reply.header('retry-after', '1');
    return reply.code(error.status).send(openAiError(error));
  });

  server.post('/v1/chat/completions', async (request, reply) => {
    const userHeader = request.headers['x-slipway-user'];
    await serveChat(
      parts,
      {
        requestId: request.id,
        at: request.at,
        started: request.started,
        tenant: request.tenant,
        body: request.body,
        userHeader: typeof userHeader === 'string' ? userHeader : undefined,
        res: reply.raw,
      },
      () => reply.hijack(),
    );
  });

  server.get('/v1/models', async () => {
    const names = Object.keys(routes.table?.routes ?? {}).sort();
    return {
      object: 'list',
      data: names.map((id) => ({ id, object: 'model', created: 0, owned_by: 'slipway' })),
    };
  });
  server.get<{ Params: { model: string } }>('/v1/models/:model', async (request) => {
    const id = request.params.model;
    if (!Object.hasOwn(routes.table?.routes ?? {}, id)) {
      throw new SlipwayError('MODEL_NOT_FOUND', 'there is no such application', {
        field: 'model',
        remedy: 'GET /v1/models lists the applications',
      });
    }
    return { id, object: 'model', created: 0, owned_by: 'slipway' };
  });

  const limit = new TenantLimit();
  server.post('/v1/feedback', { bodyLimit: LARGEST_SCORE }, async ({ tenant, body }, reply) =>
    reply.code(202).send(await limit.run(tenant, () => giveFeedback(parts, tenant, body))),
  );
  server.post('/v1/scores', { bodyLimit: LARGEST_SCORE }, async ({ tenant, body }, reply) =>
    reply.code(202).send(await limit.run(tenant, () => giveScore(parts, tenant, body))),
  );

  server.get('/healthz', () => ({ status: 'ok' }));
  server.get('/readyz', async (_request, reply) => {
    const ready = accepting() && routes.table !== null;
    return reply.code(ready ? 200 : 503).send({
      status: ready ? 'ready' : 'not ready',
      generation: routes.table?.generation ?? null,
      stableOnly: routes.stableOnly,
    });
  });
  return server;
}
