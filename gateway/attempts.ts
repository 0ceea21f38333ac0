import type { IncomingMessage } from 'node:http';
import { performance } from 'node:perf_hooks';
import type { EndpointSource } from '../adapters/endpoints/endpoints.ts';
import type { Endpoints } from './endpoints.ts';
import type { Exchange } from './exchange.ts';
import { endWith, refusalOf, relayStream, relayWhole } from './relay.ts';
import { replicasOf } from './replicas.ts';
import type { RouteFollower } from './route-follower.ts';
import {
  asUpstreamFailure,
  type RetryReason,
  type Upstream,
  type UpstreamCall,
  UpstreamFailure,
} from './upstream.ts';

/** Replicas that one request is sent to at most, and those of them that may have read it: it may be the request that breaks them. */
const MOST_TRIED = 3;
const MOST_REACHED = 2;

export interface AttemptParts {
  routes: Pick<RouteFollower, 'published'>;
  /** null: the route table alone says where replicas are. */
  cluster: EndpointSource | null;
  endpoints: Endpoints;
  upstream: Upstream;
  /** ms since the request came in, after which no other replica is asked any more. */
  retryWithin: number;
}

/**
 * Sends a request to a replica and passes the answer on. When the replica fails before the client has a byte of the answer, another one is
 * asked from the beginning: a completion has no effect but its answer, so it may be made twice. The record is of the answer that the
 * client received: one, with its usage and cost, and with the whole time since the request came in. Tokens that the failed replica spent are
 * paid in GPU time, not by the tenant; no engine tells them of an answer that it did not end. A stream that has begun is not
 * taken up elsewhere: another replica would go on with other words.
 */
export async function converse(parts: AttemptParts, exchange: Exchange, body: Buffer): Promise<void> {
  const { res, id } = exchange.parts;
  const { endpoints, upstream } = parts;
  const tried: string[] = [];
  let reached = 0;
  let last: UpstreamFailure | null = null;
  let call: UpstreamCall | undefined;
  const left = (): void => {
    if (res.writableFinished) return;
    exchange.clientClosed();
    call?.cancel();
  };
  // A client that left before we listened.
  if (res.destroyed) left();
  res.once('close', left);

  while (!exchange.recorded) {
    const endpoint = endpoints.choose(replicasNow(parts, exchange), tried, Date.now());
    if (endpoint === null) {
      endWith(exchange, last ?? noEndpoint());
      return;
    }
    if (last?.retry) again(exchange, last, last.retry);
    tried.push(endpoint);
    exchange.endpoint = endpoint;
    call = upstream.send({ endpoint, requestId: id, body });
    try {
      // From here on every error of the connection reaches whoever reads the response.
      await relay(exchange, await call.answer);
      endpoints.succeeded(endpoint);
      return;
    } catch (error) {
      if (exchange.recorded) return;
      last = asUpstreamFailure(error);
    }
    judge(endpoints, endpoint, last);
    if (last.retry !== 'refused') reached += 1;
    const spent = tried.length >= MOST_TRIED || reached >= MOST_REACHED || isLate(parts, exchange);
    if (last.retry === null || spent || res.headersSent) endWith(exchange, last);
  }
}

function replicasNow({ routes, cluster }: AttemptParts, exchange: Exchange): readonly string[] {
  return replicasOf(exchange.parts.assignment.target, routes.published, cluster);
}

async function relay(exchange: Exchange, response: IncomingMessage): Promise<void> {
  if (response.statusCode !== 200) throw await refusalOf(response);
  if (exchange.parts.request.stream) await relayStream(exchange, response);
  else await relayWhole(exchange, response);
}

function isLate({ retryWithin }: AttemptParts, exchange: Exchange): boolean {
  return performance.now() - exchange.parts.started > retryWithin;
}

function again(exchange: Exchange, failed: UpstreamFailure, why: RetryReason): void {
  const { metrics, logger, request, assignment } = exchange.parts;
  const { arm, target } = assignment;
  metrics.retried(
    {
      application: request.application,
      model: target.servedModel,
      revision: target.revision,
      arm,
      endpoint: exchange.endpoint,
    },
    why,
  );
  logger.warn({ ...exchange.labels(), reason: failed.reason }, 'an endpoint failed; another one is asked');
  exchange.startOver();
}

/** What a failure says of the endpoint. */
function judge(endpoints: Endpoints, endpoint: string, { reason, retry }: UpstreamFailure): void {
  const now = Date.now();
  if (reason === 'upstream_rejected') endpoints.succeeded(endpoint);
  else if (reason === 'upstream_timeout' || retry === 'refused' || retry === 'cut')
    endpoints.failed(endpoint, now);
  else if (reason === 'upstream_error' && retry === 'busy') endpoints.failed(endpoint, now);
  else if (reason === 'upstream_error' || reason === 'upstream_invalid') endpoints.erred(endpoint, now);
}

function noEndpoint(): UpstreamFailure {
  return new UpstreamFailure('no_endpoint', 'no endpoint serves this application now');
}
