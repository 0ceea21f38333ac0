import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { type ErrorCode, SlipwayError } from '../domain/errors.ts';
import { Endpoints } from './endpoints.ts';

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

/** The endpoint did not answer as it should. */
export class UpstreamFailure extends Error {
  readonly reason: FailureReason;

  constructor(reason: FailureReason, message: string) {
    super(message);
    this.name = 'UpstreamFailure';
    this.reason = reason;
  }

  toSlipwayError(): SlipwayError {
    return new SlipwayError(codes[this.reason] ?? 'UPSTREAM_FAILED', this.message);
  }
}

export interface UpstreamLimits {
  /** ms to connect. */
  connectTimeout: number;
  /** ms without a byte from the endpoint, before the answer's head and between its parts. */
  silenceTimeout: number;
}

export interface UpstreamRequest {
  endpoints: readonly string[];
  requestId: string;
  /** JSON of the chat request. */
  body: Buffer;
}

export interface UpstreamAnswer {
  endpoint: string;
  response: http.IncomingMessage;
}

/** A request on its way to an endpoint. */
export interface UpstreamCall {
  /** Resolves with the head of the answer. @throws UpstreamFailure */
  answer: Promise<UpstreamAnswer>;
  /** The endpoint last tried. */
  endpoint: () => string | null;
  /** Ends the connection, so that the engine stops generating. */
  cancel: () => void;
}

/** Errors of a connection that was never made: nothing was sent, so another endpoint may be tried. */
const neverConnected = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN']);

/** Connections to the engines, kept alive. */
export class Upstream {
  readonly #limits: UpstreamLimits;
  readonly #endpoints = new Endpoints();
  readonly #agents = {
    'http:': new http.Agent({ keepAlive: true, scheduling: 'lifo' }),
    'https:': new https.Agent({ keepAlive: true, scheduling: 'lifo' }),
  };
  readonly #urls = new Map<string, URL>();

  constructor(limits: UpstreamLimits) {
    this.#limits = limits;
  }

  send(request: UpstreamRequest): UpstreamCall {
    const tried: string[] = [];
    let cancelled = false;
    let current: http.ClientRequest | undefined;

    const attempt = async (again: string | null): Promise<UpstreamAnswer> => {
      const endpoint = again ?? this.#endpoints.choose(request.endpoints, tried, Date.now());
      if (endpoint === null)
        throw new UpstreamFailure('no_endpoint', 'no endpoint serves this application now');
      tried.push(endpoint);
      const sent = this.#open(endpoint, request);
      current = sent.request;
      try {
        return { endpoint, response: await sent.response };
      } catch (error) {
        if (cancelled) throw new UpstreamFailure('client_closed', 'the client left');
        const failure = error as NodeJS.ErrnoException;
        if (neverConnected.has(failure.code ?? '')) {
          this.#endpoints.setAside(endpoint, Date.now());
          const elsewhere = tried.length === 1 && request.endpoints.length > 1;
          if (elsewhere) return attempt(null);
          throw new UpstreamFailure('upstream_refused', 'the model endpoint refused the connection');
        }
        // A kept-alive connection that the endpoint closed before it read the request: as good as never connected.
        if (sent.request.reusedSocket && failure.code === 'ECONNRESET' && again === null) {
          return attempt(endpoint);
        }
        if (error instanceof UpstreamFailure) throw error;
        throw new UpstreamFailure(
          'upstream_cut',
          'the model endpoint closed the connection without an answer',
        );
      }
    };

    return {
      answer: attempt(null),
      endpoint: () => tried.at(-1) ?? null,
      cancel: () => {
        cancelled = true;
        current?.destroy();
      },
    };
  }

  #open(
    endpoint: string,
    { body, requestId }: UpstreamRequest,
  ): { request: http.ClientRequest; response: Promise<http.IncomingMessage> } {
    const { connectTimeout, silenceTimeout } = this.#limits;
    const url = this.#urlOf(endpoint);
    const secure = url.protocol === 'https:';
    const request = (secure ? https : http).request({
      agent: this.#agents[secure ? 'https:' : 'http:'],
      hostname: url.hostname,
      port: url.port,
      path: url.pathname,
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'content-length': body.length,
        'x-request-id': requestId,
      },
    });
    this.#endpoints.begin(endpoint);
    request.once('close', () => this.#endpoints.end(endpoint));
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
