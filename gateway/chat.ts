import type { ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { SlipwayError } from '../domain/errors.ts';
import { renderMessages } from '../domain/prompt/render.ts';
import { completionRequest } from '../domain/prompt/request.ts';
import type { Route, RouteTable } from '../domain/routing.ts';
import { type Assignment, assign, userKeyOf } from './assignment.ts';
import { type AttemptParts, converse } from './attempts.ts';
import { type ChatRequest, parseChatRequest } from './chat-request.ts';
import { Exchange } from './exchange.ts';
import type { Metrics } from './metrics.ts';
import { asSlipwayError } from './openai-errors.ts';
import type { RouteFollower } from './route-follower.ts';
import type { Spool } from './spool/spool.ts';

export interface ChatParts extends AttemptParts {
  routes: RouteFollower;
  spool: Spool;
  metrics: Metrics;
  logger: Logger;
  /** Keys the users' hashes. */
  userSecret: string;
}

export interface Incoming {
  requestId: string;
  /** Arrival: ms since 1970, and on the monotonic clock. */
  at: number;
  started: number;
  tenant: string;
  body: unknown;
  /** Value of the header x-slipway-user. */
  userHeader: string | undefined;
  res: ServerResponse;
}

/**
 * Serves one chat request. What is refused here, before the request has an arm, is thrown and never recorded; from the arm on, every end is
 * recorded and answered by the exchange.
 * @throws SlipwayError before anything was written to the response
 */
export async function serveChat(parts: ChatParts, incoming: Incoming, onAdmitted: () => void): Promise<void> {
  const { routes, spool, metrics } = parts;
  const request = parseChatRequest(incoming.body, incoming.userHeader);
  const table = tableOf(routes);
  const route = routeOf(table, request.application);
  const userKey = request.user === null ? null : userKeyOf(parts.userSecret, incoming.tenant, request.user);
  const assignment = assign(route, {
    requestId: incoming.requestId,
    userKey,
    at: incoming.at,
    stableOnly: routes.stableOnly,
  });
  const rendering = render(assignment, request);

  if (!spool.admit()) {
    throw new SlipwayError('SPOOL_FULL', 'the gateway cannot record another request now', {
      remedy: 'Try again in a moment',
    });
  }
  const ended = routes.begin(table.generation);
  metrics.active.inc();
  try {
    onAdmitted();
    const { tenant, requestId: id, at, started, res } = incoming;
    const { logger } = parts;
    const exchange = new Exchange({
      id,
      at,
      started,
      tenant,
      request,
      userKey,
      assignment,
      res,
      spool,
      metrics,
      logger,
    });
    if (rendering instanceof SlipwayError) exchange.fail('variables', rendering);
    else await converse(parts, exchange, rendering);
  } finally {
    metrics.active.dec();
    spool.release();
    ended();
  }
}

function tableOf({ table }: RouteFollower): RouteTable {
  if (table === null) {
    throw new SlipwayError('DEPENDENCY_UNAVAILABLE', 'the gateway has not seen a route table yet', {
      remedy: 'Try again in a moment',
    });
  }
  return table;
}

function routeOf(table: RouteTable, application: string): Route {
  const route = Object.hasOwn(table.routes, application) ? table.routes[application] : undefined;
  if (route === undefined) {
    throw new SlipwayError('MODEL_NOT_FOUND', `there is no application ${application.slice(0, 64)}`, {
      field: 'model',
      remedy: 'GET /v1/models lists the applications; model names one of them',
    });
  }
  return route;
}

/**
 * The request to the engine. A variable that is missing or unknown is a matter between this request and the arm's prompt version, so it
 * is given back to be recorded for the arm; a request that no prompt version could take is refused.
 */
function render({ target }: Assignment, request: ChatRequest): Buffer | SlipwayError {
  try {
    return Buffer.from(
      JSON.stringify({
        ...request.passedThrough,
        ...completionRequest(target.prompt, target.servedModel, renderMessages(target.prompt, request)),
        stream: request.stream,
        ...(request.stream ? { stream_options: { include_usage: true } } : {}),
      }),
    );
  } catch (error) {
    const known = asSlipwayError(error);
    if (known.code === 'REQUEST_INVALID') throw known;
    return known;
  }
}
