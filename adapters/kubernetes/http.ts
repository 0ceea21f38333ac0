import { setTimeout as delay } from 'node:timers/promises';
import {
  type HttpMethod,
  IsomorphicFetchHttpLibrary,
  type KubeConfig,
  RequestContext,
} from '@kubernetes/client-node';
import { errorOf, isPassing, KubernetesError } from './errors.ts';
import { createReadiness, isDenial } from './readiness.ts';

export interface KubernetesRequest {
  method?: HttpMethod;
  /** Under the server's address. */
  path: string;
  query?: Readonly<Record<string, string | undefined>>;
  body?: unknown;
  contentType?: string;
  accept?: string;
  signal?: AbortSignal | undefined;
}

export interface Http {
  /** Sends one request and gives the text of its answer. */
  send(request: KubernetesRequest): Promise<string>;
  /** Resolves when the server says that it is ready: before, it forbids what it will allow. */
  settled(): Promise<void>;
}

/** A request that takes longer counts as lost, ms. */
const TIMEOUT_MS = 15_000;

/** Pauses before a refused or lost request is sent again, ms; then the caller decides. */
const PAUSES_MS = [200, 500, 1_000, 2_000];
const LONGEST_PAUSE_MS = 5_000;
/** After so long, ms, nothing is sent again: a server that hangs must be told of before the attempt of an activity (a minute) is over. */
const PATIENCE_MS = 20_000;

/** Connections are kept and shared for so long; then credentials that a file or a program renewed are taken up. */
const RENEW_CONNECTIONS_MS = 60_000;

type Connections = NonNullable<ReturnType<RequestContext['getDispatcher']>>;

/**
 * The client library's own HTTP with the kubeconfig's credentials, but plain JSON in and out: its typed classes drop fields that they do
 * not know, and those whose name they change (`from` of a NetworkPolicy would be lost, which opens it to everybody).
 *
 * Every request may be repeated: what the server takes later by itself, and what was lost on the way, is sent again a few times.
 * @throws KubernetesError for an answer that is no success, any other Error when there was none
 */
export function createHttp(config: KubeConfig): Http {
  const library = new IsomorphicFetchHttpLibrary();
  let kept: { connections: Connections; until: number } | null = null;

  async function contextOf(request: KubernetesRequest): Promise<RequestContext> {
    const url = new URL(`${config.getCurrentCluster()?.server.replace(/\/+$/, '') ?? ''}${request.path}`);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const context = new RequestContext(url.toString(), request.method ?? 'GET');
    context.setHeaderParam('Accept', request.accept ?? 'application/json');
    if (request.body !== undefined) {
      context.setHeaderParam('Content-Type', request.contentType ?? 'application/json');
      context.setBody(JSON.stringify(request.body));
    }
    await config.applySecurityAuthentication(context);
    // The library makes a pool for every request, which costs a TLS handshake each.
    const own = context.getDispatcher();
    if (own !== undefined) {
      const now = performance.now();
      if (kept === null || kept.until < now) kept = { connections: own, until: now + RENEW_CONNECTIONS_MS };
      context.setDispatcher(kept.connections);
    }
    return context;
  }

  async function once(request: KubernetesRequest): Promise<string> {
    const context = await contextOf(request);
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    context.setSignal(request.signal ? AbortSignal.any([timeout, request.signal]) : timeout);
    const response = await library.send(context).toPromise();
    const text = await response.body.text();
    const { httpStatusCode: status } = response;
    if (status >= 200 && status < 300) return text;
    throw errorOf(status, text, response.headers['retry-after']);
  }

  const readiness = createReadiness(once);

  async function attempt(request: KubernetesRequest): Promise<string> {
    try {
      return await once(request);
    } catch (error) {
      if (!isDenial(error)) throw error;
      return readiness.resend(request);
    }
  }

  async function send(request: KubernetesRequest): Promise<string> {
    const since = performance.now();
    for (const pause of PAUSES_MS) {
      try {
        return await attempt(request);
      } catch (error) {
        request.signal?.throwIfAborted();
        if (error instanceof KubernetesError && !isPassing(error)) throw error;
        if (performance.now() - since > PATIENCE_MS) throw error;
        const asked = error instanceof KubernetesError && error.retryAfter !== null ? error.retryAfter : 0;
        const wait = Math.min(Math.max(pause, asked * 1_000), LONGEST_PAUSE_MS);
        await delay(wait, undefined, request.signal ? { signal: request.signal } : {});
      }
    }
    return attempt(request);
  }

  return { send, settled: readiness.settled };
}
