import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ModelServer, Planned } from './model-server.ts';

/** How the two endpoints differ in what they send. */
interface Shape {
  idPrefix: string;
  object: string;
  chunkObject: string;
  choice(planned: Planned, text: string): Record<string, unknown>;
  /** The `choices[0]` members of a chunk: the first one of a stream, and those that bring text. */
  firstDelta: Record<string, unknown> | null;
  delta(planned: Planned, text: string): Record<string, unknown>;
  emptyDelta: Record<string, unknown>;
}

export const chatShape: Shape = {
  idPrefix: 'chatcmpl-',
  object: 'chat.completion',
  chunkObject: 'chat.completion.chunk',
  choice: (planned, text) => ({
    message: {
      role: 'assistant',
      content: planned.tool === null ? text : '',
      refusal: null,
      tool_calls: planned.tool === null ? [] : [toolCall(planned.tool, text)],
    },
    logprobs: null,
  }),
  firstDelta: { delta: { role: 'assistant', content: '' } },
  delta: (planned, text) =>
    planned.tool === null
      ? { delta: { content: text } }
      : { delta: { tool_calls: [{ index: 0, ...toolCall(planned.tool, text) }] } },
  emptyDelta: { delta: { content: '' } },
};

export const completionShape: Shape = {
  idPrefix: 'cmpl-',
  object: 'text_completion',
  chunkObject: 'text_completion',
  choice: (_, text) => ({ text, logprobs: null }),
  firstDelta: null,
  delta: (_, text) => ({ text }),
  emptyDelta: { text: '' },
};

function toolCall(name: string, args: string): Record<string, unknown> {
  return {
    id: `chatcmpl-tool-${randomBytes(16).toString('hex')}`,
    type: 'function',
    function: { name, arguments: args },
  };
}

export interface GenerateOptions {
  stream: boolean;
  includeUsage: boolean;
  /** Tokens that are gathered before a chunk is sent; the first token goes out at once. */
  streamInterval: number;
  promptTokensDetails: boolean;
  /** From the request, for the id of the answer. */
  requestId: string | null;
}

/** Runs a planned request through the engine and answers; when the client leaves, the engine stops at once. */
export function generate(
  server: ModelServer,
  planned: Planned,
  shape: Shape,
  options: GenerateOptions,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const id = `${shape.idPrefix}${options.requestId ?? randomBytes(16).toString('hex')}`;
  const base = { id, created: Math.floor(Date.now() / 1000), model: server.served.names[0] };
  const sink = options.stream
    ? new StreamSink(base, planned, shape, options, response)
    : new WholeSink(base, planned, shape, options, response);
  const admitted = server.served.engine.add({
    prompt: planned.prompt,
    promptTokens: planned.promptTokens,
    outputTokens: planned.output.tokens,
    finish: planned.output.finish,
    maxTokens: planned.maxTokens,
    onTokens: (_, made) => sink.tokens(made),
    onFinish: (cached) => sink.finish(cached),
  });
  const leave = () => admitted.abort();
  request.on('error', leave);
  response.on('close', leave);
}

interface Base {
  id: string;
  created: number;
  model: string;
}

function usage(planned: Planned, cached: number, options: GenerateOptions): Record<string, unknown> {
  return {
    prompt_tokens: planned.promptTokens,
    total_tokens: planned.promptTokens + planned.output.tokens,
    completion_tokens: planned.output.tokens,
    prompt_tokens_details: options.promptTokensDetails ? { cached_tokens: cached } : null,
  };
}

class WholeSink {
  readonly #send: (cached: number) => void;

  constructor(
    base: Base,
    planned: Planned,
    shape: Shape,
    options: GenerateOptions,
    response: ServerResponse,
  ) {
    this.#send = (cached) => {
      const { finish, stopReason, pieces } = planned.output;
      const choice = {
        index: 0,
        ...shape.choice(planned, pieces.join('')),
        finish_reason: finish,
        stop_reason: stopReason,
      };
      const body = JSON.stringify({
        ...base,
        object: shape.object,
        choices: [choice],
        usage: usage(planned, cached, options),
      });
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      });
      response.end(body);
    };
  }

  tokens(): void {}

  finish(cached: number): void {
    this.#send(cached);
  }
}

/** Writes at most one piece of the body for each run of the engine, however many tokens that made. */
class StreamSink {
  readonly #base: Base;
  readonly #planned: Planned;
  readonly #shape: Shape;
  readonly #options: GenerateOptions;
  readonly #response: ServerResponse;
  readonly #prefix: string;
  #made = 0;
  #sent = 0;
  #cached: number | null = null;
  #scheduled = false;

  constructor(
    base: Base,
    planned: Planned,
    shape: Shape,
    options: GenerateOptions,
    response: ServerResponse,
  ) {
    this.#base = base;
    this.#planned = planned;
    this.#shape = shape;
    this.#options = options;
    this.#response = response;
    const { id, created, model } = base;
    const head = JSON.stringify({ id, object: shape.chunkObject, created, model });
    this.#prefix = `data: ${head.slice(0, -1)},"choices":`;
  }

  tokens(made: number): void {
    this.#made = made;
    this.#schedule();
  }

  finish(cached: number): void {
    this.#cached = cached;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    const { output } = this.#planned;
    const finished = this.#cached !== null;
    const first = this.#sent === 0;
    if (!first && !finished && this.#made - this.#sent < this.#options.streamInterval) return;
    let text = '';
    if (first) {
      this.#response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
      if (this.#shape.firstDelta !== null) text += this.#chunk(this.#shape.firstDelta, null);
    }
    const until = Math.min(this.#made, output.pieces.length);
    const fresh = output.pieces.slice(this.#sent, until).join('');
    this.#sent = Math.max(this.#sent, this.#made);
    // The arguments of a function are sent whole: a client must not see half a JSON text as an end.
    const isTool = this.#planned.tool !== null;
    const whole = isTool ? (finished ? output.pieces.join('') : '') : fresh;
    if (finished) {
      const last = whole === '' ? this.#shape.emptyDelta : this.#shape.delta(this.#planned, whole);
      text += this.#chunk(last, output.finish);
      if (this.#options.includeUsage) text += this.#usageChunk(this.#cached ?? 0);
      text += 'data: [DONE]\n\n';
      this.#response.end(text);
    } else {
      if (whole !== '') text += this.#chunk(this.#shape.delta(this.#planned, whole), null);
      if (text !== '') this.#response.write(text);
    }
  }

  #chunk(delta: Record<string, unknown>, finish: string | null): string {
    const choice: Record<string, unknown> = { index: 0, ...delta, logprobs: null, finish_reason: finish };
    if (finish !== null) choice.stop_reason = this.#planned.output.stopReason;
    return `${this.#prefix}[${JSON.stringify(choice)}]}\n\n`;
  }

  #usageChunk(cached: number): string {
    const { id, created, model } = this.#base;
    const total = usage(this.#planned, cached, this.#options);
    const chunk = { id, object: this.#shape.chunkObject, created, model, choices: [], usage: total };
    return `data: ${JSON.stringify(chunk)}\n\n`;
  }
}
