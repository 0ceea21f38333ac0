import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { EngineMetrics } from '../engine/engine-metrics.ts';
import { countTokens, pieceOf, tokenId, tokenise } from '../engine/tokenizer.ts';
import { ApiError } from './errors.ts';
import { chatShape, completionShape, type GenerateOptions, generate } from './generate.ts';
import type { ModelServer } from './model-server.ts';
import {
  type ChatRequest,
  type CompletionRequest,
  contentText,
  parseChat,
  parseCompletion,
  parseDetokenize,
  parseTokenize,
} from './requests.ts';

/** The release of vLLM whose behaviour is imitated. */
export const VERSION = '0.20.0';

export interface HttpSettings {
  /** Keys of which one must be given for paths under /v1; empty: none is asked for. */
  apiKeys: readonly string[];
  /** The path or name that the model was loaded by. */
  root: string;
  streamInterval: number;
  promptTokensDetails: boolean;
  requestIdHeaders: boolean;
  /** True while the server drains: nothing new is taken. */
  draining?: () => boolean;
}

export function makeHttpServer(server: ModelServer, metrics: EngineMetrics, settings: HttpSettings): Server {
  const started = Math.floor(Date.now() / 1000);
  const http = createServer((request, response) => {
    const requestId = header(request, 'x-request-id');
    if (settings.requestIdHeaders && requestId !== null) response.setHeader('x-request-id', requestId);
    route(request, response).catch((error: unknown) => fail(response, error));
  });
  // Longer than any client or gateway keeps a connection, so that none is closed under a request.
  http.keepAliveTimeout = 75_000;

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?')[0] ?? '/';
    if (path.startsWith('/v1') && !authorised(request, settings.apiKeys)) {
      json(response, 401, { error: 'Unauthorized' });
      return;
    }
    if (settings.draining?.() === true && path !== '/metrics') {
      json(response, 503, { error: 'Server is unavailable. Please try again later.' });
      return;
    }
    switch (`${request.method} ${path}`) {
      case 'GET /health':
      case 'GET /ping':
        response.writeHead(200).end();
        return;
      case 'GET /version':
        return json(response, 200, { version: VERSION });
      case 'GET /metrics':
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' });
        response.end(metrics.text());
        return;
      case 'GET /v1/models':
        return json(response, 200, { object: 'list', data: models() });
      case 'POST /v1/chat/completions': {
        const body = parseChat(await readBody(request));
        generate(server, server.planChat(body), chatShape, options(body, request), request, response);
        return;
      }
      case 'POST /v1/completions': {
        const body = parseCompletion(await readBody(request));
        generate(
          server,
          server.planCompletion(body),
          completionShape,
          options(body, request),
          request,
          response,
        );
        return;
      }
      case 'POST /tokenize':
        return tokenize(await readBody(request), response);
      case 'POST /detokenize': {
        const body = parseDetokenize(await readBody(request));
        server.checkModel(body.model);
        return json(response, 200, { prompt: body.tokens.map(pieceOf).join('') });
      }
      default:
        return json(response, 404, { detail: 'Not Found' });
    }
  }

  function models(): Record<string, unknown>[] {
    return server.served.names.map((id) => ({
      id,
      object: 'model',
      created: started,
      owned_by: 'vllm',
      root: settings.root,
      parent: null,
      max_model_len: server.served.maxModelLen,
    }));
  }

  function tokenize(text: string, response: ServerResponse): void {
    const body = parseTokenize(text);
    server.checkModel(body.model);
    const prompt = body.prompt ?? (body.messages ?? []).map((one) => contentText(one.content)).join('\n');
    const tokens = tokenise(prompt).map(tokenId);
    json(response, 200, { count: countTokens(prompt), max_model_len: server.served.maxModelLen, tokens });
  }

  function options(body: ChatRequest | CompletionRequest, request: IncomingMessage): GenerateOptions {
    return {
      stream: body.stream ?? false,
      includeUsage: body.stream_options?.include_usage ?? false,
      streamInterval: settings.streamInterval,
      promptTokensDetails: settings.promptTokensDetails,
      requestId: header(request, 'x-request-id') ?? body.request_id ?? null,
    };
  }

  return http;
}

function header(request: IncomingMessage, name: string): string | null {
  const value = request.headers[name];
  return typeof value === 'string' ? value : null;
}

function authorised(request: IncomingMessage, keys: readonly string[]): boolean {
  if (keys.length === 0) return true;
  const match = /^bearer (.+)$/i.exec(request.headers.authorization ?? '');
  return match?.[1] !== undefined && keys.includes(match[1]);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString('utf8');
}

function json(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

function fail(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const known =
    error instanceof ApiError ? error : new ApiError(500, 'InternalServerError', 'Internal server error');
  if (!(error instanceof ApiError)) console.error(error);
  const body = known.body();
  response.writeHead(known.status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}
