import { EventSourceParserStream } from 'eventsource-parser/stream';
import { catalogue, type ErrorCode, type ErrorDetails, SlipwayError } from '../domain/errors.ts';

/** Where the command line takes the key from. */
const KEY = 'SLIPWAY_API_KEY';

function keyError(message: string, wanted: string): SlipwayError {
  return new SlipwayError('UNAUTHENTICATED', message, {
    field: KEY,
    remedy: `Set ${KEY} to ${wanted}: an admin makes keys with slipway key create; npm start and slipway up say where theirs are`,
  });
}

const wrongKey = (message: string): SlipwayError => keyError(message, 'a key that is valid');

/** The API did not answer, or what answered is not the API. */
export class UnreachableError extends Error {
  readonly remedy: string;

  constructor(message: string, remedy: string, options?: ErrorOptions) {
    super(message, options);
    this.remedy = remedy;
  }
}

export interface ServerEvent {
  event: string;
  id: string | undefined;
  data: unknown;
}

/** The API over HTTP. Refusals are thrown as the SlipwayError that the API answered with. */
export class ApiClient {
  private readonly url: string;
  private readonly key: string | undefined;
  private readonly source: string;

  /** @param source where the address comes from, for an error about it */
  constructor(url: string, key: string | undefined, source = 'SLIPWAY_API_URL') {
    this.url = url.replace(/\/+$/, '');
    this.key = key;
    this.source = source;
  }

  /** `T` is what /openapi.json says of the route. */
  async call<T>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<T> {
    const response = await this.request(method, path, {
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    });
    const text = await response.text().catch((cause: Error) => {
      throw this.unreachable(cause);
    });
    return (text === '' ? undefined : parsed(text, this.url)) as T;
  }

  /** Events of a stream until it ends or breaks off; which of both, the events have to say. */
  async *events(path: string, lastEventId: string | undefined): AsyncGenerator<ServerEvent> {
    const headers = { accept: 'text/event-stream', ...(lastEventId ? { 'last-event-id': lastEventId } : {}) };
    const response = await this.request('GET', path, { headers });
    const events = response.body
      ?.pipeThrough(new TextDecoderStream())
      .pipeThrough(new EventSourceParserStream());
    if (!events) return;
    try {
      for await (const { event, id, data } of events) {
        yield { event: event ?? 'message', id, data: JSON.parse(data) as unknown };
      }
    } catch (error) {
      if (!isBroken(error)) throw error;
    }
  }

  private async request(method: string, path: string, init: RequestInit): Promise<Response> {
    this.checkAddress();
    // Such a key cannot even be sent.
    if (/[^\x21-\x7e]/.test(this.key ?? '')) throw wrongKey('the API key has characters that no key has');
    const authorization: Record<string, string> =
      this.key === undefined ? {} : { authorization: `Bearer ${this.key}` };
    const response = await fetch(`${this.url}${path}`, {
      method,
      ...init,
      headers: { ...(init.headers as Record<string, string>), ...authorization },
    }).catch((cause: Error) => {
      throw this.unreachable(cause);
    });
    if (response.ok) return response;
    throw this.inWordsOfTheShell(refusal(await response.text(), response.status, this.url));
  }

  /** Here and not when the client is made: what asks the API nothing must not trip over its address. */
  private checkAddress(): void {
    const { url, source } = this;
    if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return;
    throw new SlipwayError('INPUT_INVALID', `${source} is no address of an API`, {
      field: source,
      value: url,
      remedy: 'Give an http or https address, e.g. http://127.0.0.1:8080',
    });
  }

  /** The API speaks of headers; who sits at a shell sets a variable. */
  private inWordsOfTheShell(error: Error): Error {
    if (!(error instanceof SlipwayError)) return error;
    const { code, message, details } = error;
    if (code === 'FORBIDDEN') return new SlipwayError(code, message, { ...details, field: KEY });
    if (code !== 'UNAUTHENTICATED') return error;
    return this.key === undefined ? keyError('no API key is set', 'your key') : wrongKey(message);
  }

  private unreachable(cause: Error): UnreachableError {
    const why = cause.cause instanceof Error ? cause.cause.message : cause.message;
    return new UnreachableError(
      `the API does not answer at ${this.url}${why ? `: ${why}` : ''}`,
      'Start it (npm start, slipway up), or give its address: --api or SLIPWAY_API_URL',
      { cause },
    );
  }
}

/** A stream that the server or the network cut: the reader resumes. */
function isBroken(error: unknown): boolean {
  return error instanceof TypeError && /terminated|network|fetch/.test(error.message);
}

function parsed(text: string, url: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UnreachableError(`what answers at ${url} is not the Slipway API`, 'Set SLIPWAY_API_URL', {
      cause,
    });
  }
}

function refusal(text: string, status: number, url: string): Error {
  const { error } = (parsed(text, url) ?? {}) as {
    error?: { code: ErrorCode; message: string } & ErrorDetails;
  };
  if (error === undefined || !Object.hasOwn(catalogue, error.code)) {
    return new UnreachableError(
      `${url} answered ${status}, not as the Slipway API does`,
      'Set SLIPWAY_API_URL',
    );
  }
  const { code, message, ...details } = error;
  return new SlipwayError(code, message, details);
}
