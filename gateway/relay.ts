import type { IncomingMessage } from 'node:http';
import {
  choiceOf,
  finishReasonOf,
  hasContent,
  parseUpstream,
  textOf,
  type Usage,
  usageOf,
} from './completion.ts';
import type { Exchange } from './exchange.ts';
import { errorType } from './openai-errors.ts';
import { EventSplitter } from './sse.ts';
import { UpstreamFailure } from './upstream.ts';

/** An answer that is not streamed is held whole before it is passed on; none is larger. */
const LARGEST_ANSWER = 32 * 1024 * 1024;
const LARGEST_ERROR = 64 * 1024;

/** Ends the exchange with what went wrong between the endpoint and here. */
export function endWith(exchange: Exchange, failure: UpstreamFailure): void {
  if (failure.reason === 'client_closed') {
    exchange.clientClosed();
    exchange.parts.res.destroy();
    return;
  }
  const { status, body } = failure.answer();
  exchange.failWith(failure.reason, status, body, failure.headers);
}

/** Passes a whole answer on. The traffic sees the application's name where the engine wrote its model's. */
export async function relayWhole(exchange: Exchange, response: IncomingMessage): Promise<void> {
  const { res, id, request } = exchange.parts;
  const body = parseUpstream(await readAll(response, LARGEST_ANSWER));
  const choice = choiceOf(body);
  if (choice === null)
    throw new UpstreamFailure('upstream_invalid', 'the model endpoint answered without a choice');
  if (exchange.recorded) return;
  exchange.contentArrived();
  const text = JSON.stringify({ ...body, id: completionId(id), model: request.application });
  const recorded = exchange.complete({
    usage: usageOf(body.usage),
    finishReason: finishReasonOf(choice),
    output: textOf(choice, 'message'),
  });
  if (!recorded) {
    res.destroy();
    return;
  }
  res.writeHead(200, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    'x-request-id': id,
  });
  res.end(text);
}

/** Passes a stream on, event by event, and ends it well only if the endpoint did. */
export function relayStream(exchange: Exchange, response: IncomingMessage): Promise<void> {
  const { res } = exchange.parts;
  const stream = new StreamRelay(exchange);
  return new Promise((resolve, reject) => {
    response.on('data', (bytes: Buffer) => {
      if (stream.done || exchange.recorded) return;
      try {
        if (!stream.pass(bytes)) {
          response.pause();
          res.once('drain', () => response.resume());
        }
      } catch (error) {
        response.destroy();
        reject(error);
      }
    });
    response.once('end', () => {
      if (stream.done || exchange.recorded) resolve();
      else reject(new UpstreamFailure('upstream_cut', 'the model endpoint ended its stream too early'));
    });
    response.once('error', (error) => (stream.done ? resolve() : reject(error)));
    response.once('close', resolve);
  });
}

class StreamRelay {
  done = false;
  readonly #exchange: Exchange;
  readonly #splitter = new EventSplitter();
  #usage: Usage | null = null;
  #finishReason: string | null = null;
  #output = '';

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** @returns false when the client is behind and the endpoint should wait */
  pass(bytes: Buffer): boolean {
    const { res, id } = this.#exchange.parts;
    let out = '';
    for (const data of this.#splitter.push(bytes)) {
      if (data === '[DONE]') {
        this.#end(out);
        return true;
      }
      out += this.#chunk(data);
    }
    if (out === '') return true;
    if (!res.headersSent) this.#writeHead(id);
    return res.write(out);
  }

  #chunk(data: string): string {
    const { id, request, assignment } = this.#exchange.parts;
    const chunk = parseUpstream(data);
    if (chunk.error !== undefined) {
      throw new UpstreamFailure('upstream_error', 'the model endpoint failed while it answered', {
        retry: isOwnFailure(chunk.error) ? 'error' : null,
      });
    }
    const usage = usageOf(chunk.usage);
    if (usage !== null) this.#usage = usage;
    const choice = choiceOf(chunk);
    if (choice === null && usage !== null && !request.includeUsage) return '';
    if (hasContent(choice)) this.#exchange.contentArrived();
    if (assignment.scored) this.#output += textOf(choice, 'delta');
    this.#finishReason ??= finishReasonOf(choice);
    chunk.id = completionId(id);
    chunk.model = request.application;
    if (!request.includeUsage) delete chunk.usage;
    return `data: ${JSON.stringify(chunk)}\n\n`;
  }

  #end(out: string): void {
    this.done = true;
    const { res, id } = this.#exchange.parts;
    const recorded = this.#exchange.complete({
      usage: this.#usage,
      finishReason: this.#finishReason,
      output: this.#output,
    });
    if (!recorded) {
      res.destroy();
      return;
    }
    if (!res.headersSent) this.#writeHead(id);
    res.end(`${out}data: [DONE]\n\n`);
  }

  #writeHead(id: string): void {
    this.#exchange.parts.res.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
      'x-request-id': id,
    });
  }
}

/** An error in the midst of a stream is the engine's unless it names a status that blames the request. */
function isOwnFailure(error: unknown): boolean {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined;
  return !(typeof code === 'number' && code < 500);
}

/** The id that clients see in an answer; feedback names it or the x-request-id. */
export function completionId(requestId: string): string {
  return `chatcmpl-${requestId}`;
}

/** What the request itself got wrong, by the engine's word: passed on, since no other endpoint would say otherwise. */
const rejected = new Set([400, 413, 422]);

/** Reads an answer that is no success. */
export async function refusalOf(response: IncomingMessage): Promise<UpstreamFailure> {
  const status = response.statusCode ?? 500;
  const text = await readAll(response, LARGEST_ERROR);
  const message = `the model endpoint answered with status ${status}`;
  const retryAfter = response.headers['retry-after'];
  const headers: Record<string, string> = retryAfter === undefined ? {} : { 'retry-after': retryAfter };
  const own = { status, body: errorOf(text, status) };
  if (status === 429) return new UpstreamFailure('upstream_rate_limited', message, { headers, own });
  if (rejected.has(status)) return new UpstreamFailure('upstream_rejected', message, { headers, own });
  const retry = status === 503 ? 'busy' : status >= 500 ? 'error' : null;
  return new UpstreamFailure('upstream_error', message, { retry, headers });
}

/** The engine's error in OpenAI's shape, whether it came in it or in vLLM's older flat one. */
function errorOf(text: string, status: number): object {
  let body: Record<string, unknown> = {};
  try {
    const parsed = parseUpstream(text);
    body = typeof parsed.error === 'object' && parsed.error !== null ? { ...parsed.error } : parsed;
  } catch {
    // Not JSON: its text stays inside.
  }
  const textOr = <T>(value: unknown, otherwise: T) => (typeof value === 'string' ? value : otherwise);
  return {
    error: {
      message: textOr(body.message, 'The model endpoint refused the request'),
      type: textOr(body.type, errorType(status)),
      param: textOr(body.param, null),
      code: textOr(body.code, 'UPSTREAM_REJECTED'),
    },
  };
}

async function readAll(response: IncomingMessage, limit: number): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > limit)
      throw new UpstreamFailure('upstream_invalid', 'the answer of the model endpoint is too large');
    parts.push(part);
  }
  return Buffer.concat(parts, size).toString('utf8');
}
