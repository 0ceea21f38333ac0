import { SlipwayError } from '../domain/errors.ts';
import type { ChatMessage } from '../domain/prompt/render.ts';

/** Of a request's own parameters, those that reach the model; a member is absent if the request leaves it out. */
export interface PassedThrough {
  tools?: unknown;
  tool_choice?: unknown;
  parallel_tool_calls?: unknown;
  /** Only where the revision has no output schema of its own. */
  response_format?: unknown;
}

export interface ChatRequest {
  /** The request's `model`. */
  application: string;
  messages: ChatMessage[];
  stream: boolean;
  /** The client asked for the usage chunk of a stream. */
  includeUsage: boolean;
  variables: Record<string, string>;
  user: string | null;
  passedThrough: PassedThrough;
}

const passedThrough = ['tools', 'tool_choice', 'parallel_tool_calls', 'response_format'] as const;

/**
 * Reads a body of `POST /v1/chat/completions`. Sampling parameters (temperature, max_tokens, seed, …) are the revision's, so that a release
 * controls what serves; the request's own are not read.
 * @throws SlipwayError REQUEST_INVALID
 */
export function parseChatRequest(body: unknown, userHeader: string | undefined): ChatRequest {
  if (!isObject(body)) throw invalid('body', 'the body must be a JSON object');
  const { model, messages, stream, n, stream_options: streamOptions } = body;
  if (typeof model !== 'string' || model === '') {
    throw invalid('model', 'model must name an application', 'GET /v1/models lists the applications');
  }
  if (!Array.isArray(messages) || messages.length === 0) {
    throw invalid('messages', 'messages must be a list of at least one message');
  }
  messages.forEach(checkMessage);
  if (stream !== undefined && stream !== null && typeof stream !== 'boolean') {
    throw invalid('stream', 'stream must be true or false');
  }
  if (n !== undefined && n !== null && n !== 1) {
    throw invalid('n', 'one answer a request is all that Slipway can compare', 'Leave n out or send 1');
  }
  return {
    application: model,
    messages: messages as ChatMessage[],
    stream: stream === true,
    includeUsage: isObject(streamOptions) && streamOptions.include_usage === true,
    variables: variablesOf(body.variables),
    user: userOf(body, userHeader),
    passedThrough: Object.fromEntries(
      passedThrough.flatMap((name) => (body[name] == null ? [] : [[name, body[name]]])),
    ),
  };
}

function checkMessage(message: unknown, index: number): void {
  const field = `messages[${index}]`;
  if (!isObject(message)) throw invalid(field, 'a message must be an object');
  if (typeof message.role !== 'string') throw invalid(`${field}.role`, 'a message needs a role');
  const { content } = message;
  if (content === undefined || content === null || typeof content === 'string') return;
  if (!Array.isArray(content)) throw invalid(`${field}.content`, 'content must be a text or a list of parts');
  for (const [part, value] of content.entries()) {
    const valid = isObject(value) && typeof value.type === 'string';
    if (!valid || (value.type === 'text' && typeof value.text !== 'string')) {
      throw invalid(
        `${field}.content[${part}]`,
        'a part of a content must have a type, and a text if its type is text',
      );
    }
  }
}

function variablesOf(given: unknown): Record<string, string> {
  if (given === undefined || given === null) return {};
  if (!isObject(given)) throw invalid('variables', 'variables must be an object of texts');
  for (const [name, value] of Object.entries(given)) {
    if (typeof value !== 'string') {
      throw invalid(
        `variables.${name}`,
        `the variable ${name} must be a text`,
        'Send numbers and dates as texts',
      );
    }
  }
  return given as Record<string, string>;
}

function userOf(body: Record<string, unknown>, header: string | undefined): string | null {
  for (const field of ['user', 'safety_identifier']) {
    const value = body[field];
    if (value === undefined || value === null || value === '') continue;
    if (typeof value !== 'string') throw invalid(field, `${field} must be a text`);
    return value;
  }
  return header === undefined || header === '' ? null : header;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function invalid(field: string, message: string, remedy?: string): SlipwayError {
  return new SlipwayError('REQUEST_INVALID', message, { field, remedy });
}
