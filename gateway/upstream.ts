import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { type ErrorCode, SlipwayError } from '../domain/errors.ts';
import { openAiError } from './openai-errors.ts';

/** Why a request did not get its answer; a label of metrics and of samples, so the list is closed. */
export const failureReasons = [
  'variables',
  'no_endpoint',
  'upstream_refused',
  'upstream_timeout',
  'upstream_cut',
  'upstream_rejected',
  'upstream_rate_limited',
  'upstream_error',
  'upstream_invalid',
  'client_closed',
] as const;
export type FailureReason = (typeof failureReasons)[number];

const codes: Partial<Record<FailureReason, ErrorCode>> = {
  no_endpoint: 'NO_ROUTE',
  upstream_timeout: 'UPSTREAM_TIMEOUT',
};

/** Why another replica may do better; a label of metrics. */
export const retryReasons = [
  /** No connection was made: the replica has not seen the request. */
  'refused',
  /** It broke off. */
  'cut',
  /** It is starting or has too much to do. */
  'busy',
  /** It failed by itself, as vLLM does for what it holds when its engine dies. */
  'error',
] as const;
export type RetryReason = (typeof retryReasons)[number];

const retries: Partial<Record<FailureReason, RetryReason>> = {
  upstream_refused: 'refused',
  upstream_cut: 'cut',
  upstream_rate_limited: 'busy',
};

/** An answer that the client gets instead of ours. */
export interface OwnWords {
  status: number;
  body: object;
}

/** The endpoint did not answer as it should. */
export class UpstreamFailure extends Error {
  readonly reason: FailureReason;
  /** null: another replica would not do better, or there is no time left for it. */
  readonly retry: RetryReason | null;
  readonly headers: Record<string, string>;
  readonly #own: OwnWords | undefined;

  constructor(
    reason: FailureReason,
    message: string,
    more: { retry?: RetryReason | null; headers?: Record<string, string>; own?: OwnWords } = {},
  ) {
    super(message);
    this.name = 'UpstreamFailure';
    this.reason = reason;
    this.retry = more.retry === undefined ? (retries[reason] ?? null) : more.retry;
    this.headers = more.headers ?? {};
    this.#own = more.own;
  }

  /** What the client gets. */
  answer(): OwnWords {
    if (this.#own !== undefined) return this.#own;
    const error = new SlipwayError(codes[this.reason] ?? 'UPSTREAM_FAILED', this.message, {
      remedy: 'Try again in a moment; if it stays so, tell the operators the x-request-id',
    });
    return { status: error.status, body: openAiError(error) };
  }
}

/** Any error between the endpoint and here; what has no name is the connection's. */
export function asUpstreamFailure(error: unknown): UpstreamFailure {
  if (error instanceof UpstreamFailure) return error;
  return new UpstreamFailure('upstream_cut', 'the model endpoint broke off its answer');
}

export interface UpstreamLimits {
  /** ms to connect. */
  connectTimeout: number;
  /** ms without a byte from the endpoint, before the answer's head and between its parts. */
  silenceTimeout: number;
  /** ms since the request came in, after which no other endpoint is asked any more. */
  retryWithin: number;
}

export interface UpstreamRequest {
  endpoint: string;
  requestId: string;
  /** JSON of the chat request. */
  body: Buffer;
}

/** A request on its way to an endpoint. */
export interface UpstreamCall {
  /** Resolves with the head of the answer. @throws UpstreamFailure */
  answer: Promise<http.IncomingMessage>;
  /** Ends the connection, so that the engine stops generating. */
  cancel: () => void;
}

/** Errors of a connection that was never made: nothing was sent. */
const neverConnected = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'EHOSTDOWN',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
]);

export interface UpstreamOptions extends UpstreamLimits {
  /** What the engines ask of their callers (vLLM's --api-key). */
  apiKey?: string | undefined;
  /** A request begins at, and ends at, an endpoint. */
  onBegin: (endpoint: string) => void;
  onEnd: (endpoint: string) => void;
}

/** Connections to the engines, kept alive; a replica that vanished without a word is found out by the agents' probes in some 10 s. */
export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #agents = {
    'http:': new http.Agent({ keepAlive: true, scheduling: 'lifo' }),
    'https:': new https.Agent({ keepAlive: true, scheduling: 'lifo' }),
  };
  readonly #urls = new Map<string, URL>();

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /** Asks one endpoint. */
  send(request: UpstreamRequest): UpstreamCall {
    let cancelled = false;
    let current: http.ClientRequest | undefined;

    const attempt = async (first: boolean): Promise<http.IncomingMessage> => {
      const sent = this.#open(request, first);
      current = sent.request;
      try {
        return await sent.response;
      } catch (error) {
        if (cancelled) throw new UpstreamFailure('client_closed', 'the client left');
        const failure = error as NodeJS.ErrnoException;
        if (neverConnected.has(failure.code ?? '')) {
          throw new UpstreamFailure('upstream_refused', 'the model endpoint refused the connection');
        }
        // A kept-alive connection that the endpoint closed before it read the request: as good as never connected. The next one is new:
        // others that were kept may have ended the same way.
        if (first && sent.request.reusedSocket && failure.code === 'ECONNRESET') return attempt(false);
        if (error instanceof UpstreamFailure) throw error;
        throw new UpstreamFailure(
          'upstream_cut',
          'the model endpoint closed the connection without an answer',
        );
      }
    };

    return {
      answer: attempt(true),
      cancel: () => {
        cancelled = true;
        current?.destroy();
      },
    };
  }

  #open(
    { endpoint, body, requestId }: UpstreamRequest,
    mayReuse: boolean,
  ): {
    request: http.ClientRequest;
    response: Promise<http.IncomingMessage>;
  } {
    const { connectTimeout, silenceTimeout, apiKey, onBegin, onEnd } = this.#options;
    const url = this.#urlOf(endpoint);
    const secure = url.protocol === 'https:';
    const request = (secure ? https : http).request({
      agent: mayReuse && this.#agents[secure ? 'https:' : 'http:'],
      hostname: url.hostname,
      port: url.port,
      path: url.pathname,
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'content-length': body.length,
        'x-request-id': requestId,
        ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }),
      },
    });
    onBegin(endpoint);
    request.once('close', () => onEnd(endpoint));
    request.setNoDelay(true);
    request.once('socket', (socket: Socket) => {
      if (!socket.connecting) return;
      const timer = setTimeout(() => {
        request.destroy(Object.assign(new Error('connect timeout'), { code: 'EHOSTUNREACH' }));
      }, connectTimeout);
      socket.once(secure ? 'secureConnect' : 'connect', () => clearTimeout(timer));
      socket.once('close', () => clearTimeout(timer));
    });
    let head: http.IncomingMessage | undefined;
    request.setTimeout(silenceTimeout, () => {
      // Paused: the client does not take what the engine has sent.
      const failure = head?.isPaused()
        ? new UpstreamFailure('client_closed', 'the client stopped reading')
        : new UpstreamFailure('upstream_timeout', 'the model endpoint fell silent');
      (head ?? request).destroy(failure);
    });
    const response = new Promise<http.IncomingMessage>((resolve, reject) => {
      request.once('response', (answered) => {
        head = answered;
        resolve(answered);
      });
      request.on('error', reject);
    });
    request.end(body);
    return { request, response };
  }

  #urlOf(endpoint: string): URL {
    let url = this.#urls.get(endpoint);
    if (url === undefined) {
      url = new URL(`${endpoint}/v1/chat/completions`);
      this.#urls.set(endpoint, url);
    }
    return url;
  }

  close(): void {
    this.#agents['http:'].destroy();
    this.#agents['https:'].destroy();
  }
}
