import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

/** What the engine was asked, as it arrived. */
export interface EngineRequest {
  body: {
    model: string;
    messages: { role: string; content: unknown }[];
    stream: boolean;
    [key: string]: unknown;
  };
  headers: http.IncomingHttpHeaders;
  /** Resolves when the client of the engine has closed the connection before the answer was over. */
  closed: Promise<void>;
}

export type EngineBehaviour = (request: EngineRequest, res: http.ServerResponse) => void | Promise<void>;

export interface FakeEngine {
  url: string;
  requests: EngineRequest[];
  /** How it answers from now on. */
  behave: (behaviour: EngineBehaviour) => void;
  stop: () => Promise<void>;
}

export const sse = (payload: unknown): string => `data: ${JSON.stringify(payload)}\n\n`;

export function chunk(delta: object, more: object = {}): object {
  return {
    id: 'chatcmpl-engine',
    object: 'chat.completion.chunk',
    created: 1,
    model: 'engine-model',
    choices: [{ index: 0, delta, finish_reason: null }],
    ...more,
  };
}

export const usage = { prompt_tokens: 12, completion_tokens: 4, total_tokens: 16 };

export const usageChunk = chunk({}, { choices: [], usage });

/** The stream of an answer in words. */
export function streamOf(words: readonly string[]): string {
  return [
    sse(chunk({ role: 'assistant', content: '' })),
    ...words.map((word) => sse(chunk({ content: word }))),
    sse(chunk({}, { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] })),
    sse(usageChunk),
    'data: [DONE]\n\n',
  ].join('');
}

export function completionOf(content: string): object {
  return {
    id: 'chatcmpl-engine',
    object: 'chat.completion',
    created: 1,
    model: 'engine-model',
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage,
  };
}

/** Answers with the same words, streamed or not. */
export function answering(words: readonly string[]): EngineBehaviour {
  return ({ body }, res) => {
    if (body.stream) {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      res.end(streamOf(words));
    } else {
      res.writeHead(200, { 'content-type': 'application/json' });
      res.end(JSON.stringify(completionOf(words.join(''))));
    }
  };
}

/** An OpenAI-compatible engine whose every byte a test decides. */
export async function startFakeEngine(behaviour = answering(['Hello', ', ', 'you'])): Promise<FakeEngine> {
  let behave = behaviour;
  const requests: EngineRequest[] = [];
  const sockets = new Set<Socket>();
  const server = http.createServer((req, res) => {
    const parts: Buffer[] = [];
    req.on('data', (part: Buffer) => parts.push(part));
    req.on('end', () => {
      const closed = new Promise<void>((resolve) => {
        res.once('close', () => {
          if (!res.writableFinished) resolve();
        });
      });
      const request = {
        body: JSON.parse(Buffer.concat(parts).toString('utf8')),
        headers: req.headers,
        closed,
      };
      requests.push(request);
      void behave(request, res);
    });
  });
  // An idle connection is closed by what a test does, and never by the time that it took.
  server.keepAliveTimeout = 0;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    behave: (next) => {
      behave = next;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
