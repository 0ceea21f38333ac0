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
  if (!isObject(body)) throw invalid('body', body, 'the body must be a JSON object', 'Send a chat request');
  const { model, messages, stream, n, stream_options: streamOptions } = body;
  if (typeof model !== 'string' || model === '') {
    throw invalid('model', model, 'model must name an application', 'GET /v1/models lists the applications');
  }
  if (!Array.isArray(messages) || messages.length === 0) {
    const remedy = 'Send at least one message, of the role user';
    throw invalid('messages', messages, 'messages must be a list of at least one message', remedy);
  }
  messages.forEach(checkMessage);
  if (stream !== undefined && stream !== null && typeof stream !== 'boolean') {
    throw invalid('stream', stream, 'stream must be true or false', 'Leave it out for a whole answer');
  }
  if (n !== undefined && n !== null && n !== 1) {
    const remedy = 'Leave n out or send 1: one answer a request is all that Slipway can compare';
    throw invalid('n', n, 'n must be 1', remedy);
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
  const remedy = 'Send messages as {"role": "user", "content": "…"}';
  if (!isObject(message)) throw invalid(field, message, 'a message must be an object', remedy);
  const { role, content } = message;
  if (typeof role !== 'string') throw invalid(`${field}.role`, role, 'the role must be a text', remedy);
  if (content === undefined || content === null || typeof content === 'string') return;
  if (!Array.isArray(content)) {
    throw invalid(`${field}.content`, content, 'content must be a text or a list of parts', remedy);
  }
  for (const [part, value] of content.entries()) checkPart(value, `${field}.content[${part}]`);
}

function checkPart(part: unknown, field: string): void {
  const remedy = 'Send parts as {"type": "text", "text": "…"}';
  if (!isObject(part)) throw invalid(field, part, 'a part of a content must be an object', remedy);
  if (typeof part.type !== 'string') {
    throw invalid(`${field}.type`, part.type, 'the type of a part must be a text', remedy);
  }
  if (part.type === 'text' && typeof part.text !== 'string') {
    throw invalid(`${field}.text`, part.text, 'the text of a part must be a text', remedy);
  }
  for (const [name, value] of Object.entries(part)) {
    if (!saidNotFetched.has(name)) checkUrls(value, `${field}.${name}`);
  }
}

/** Members of a part that hold what was said, in which addresses are only words. */
const saidNotFetched = new Set(['type', 'text', 'refusal']);

/**
 * An engine that sees or hears fetches what a part points to, from where it runs, which is inside: whoever may ask could have it call
 * what they cannot reach themselves. So a part must bring its content along.
 */
function checkUrls(value: unknown, field: string): void {
  if (typeof value === 'object' && value !== null) {
    for (const [name, inner] of Object.entries(value)) checkUrls(inner, `${field}.${name}`);
  } else if (typeof value === 'string' && !value.startsWith('data:')) {
    // Base64 has no colon.
    const scheme = /^[\0-\x20]*([a-z][a-z0-9+.-]{0,30}):/i.exec(value)?.[1];
    if (scheme === undefined && !/url$/i.test(field)) return;
    throw new SlipwayError('REQUEST_INVALID', `${field} points elsewhere`, {
      field,
      value: scheme === undefined ? 'no data: URL' : `${scheme}:…`,
      remedy: 'Send the content itself as a data: URL, e.g. data:image/png;base64,…',
    });
  }
}

function variablesOf(given: unknown): Record<string, string> {
  if (given === undefined || given === null) return {};
  const remedy = 'Send an object of texts; numbers and dates as texts, too';
  if (!isObject(given)) throw invalid('variables', given, 'variables must be an object of texts', remedy);
  for (const [name, value] of Object.entries(given)) {
    if (typeof value === 'string') continue;
    throw invalid(`variables.${name}`, value, `the variable ${name} must be a text`, remedy);
  }
  return given as Record<string, string>;
}

function userOf(body: Record<string, unknown>, header: string | undefined): string | null {
  for (const field of ['user', 'safety_identifier']) {
    const value = body[field];
    if (value === undefined || value === null || value === '') continue;
    if (typeof value === 'string') return value;
    throw invalid(field, value, `${field} must be a text`, 'Send what names the user, always the same');
  }
  return header === undefined || header === '' ? null : header;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Tells what stood there by its kind, where it could be something that a user wrote. */
function invalid(field: string, given: unknown, message: string, remedy: string): SlipwayError {
  const value = kindOf(given);
  return new SlipwayError('REQUEST_INVALID', `${message}, not ${value}`, { field, value, remedy });
}

function kindOf(given: unknown): string {
  if (given === undefined) return 'nothing';
  if (typeof given === 'string') return given === '' ? 'an empty text' : 'a text';
  if (Array.isArray(given)) return given.length === 0 ? 'an empty list' : 'a list';
  return typeof given === 'object' && given !== null ? 'an object' : String(given);
}
