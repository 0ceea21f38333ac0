import assert from 'node:assert/strict';
import { catalogue } from '../../domain/errors.ts';
import type { ApiDocument } from './document.ts';

export interface Answer {
  status: number;
  // What the API answers is checked against its document; tests read it freely.
  body: Record<string, never> & {
    error?: { code: string; field?: string; value?: unknown; remedy?: string; message: string };
  };
}

export interface CallOptions {
  key?: string | undefined;
  body?: unknown;
  /** Sent as it is. */
  text?: string;
  headers?: Record<string, string>;
}

/** Asks the API and holds the answer to the document; every refusal is one coded error. */
export async function call(
  url: string,
  document: ApiDocument,
  method: string,
  path: string,
  { key, body, text, headers = {} }: CallOptions = {},
): Promise<Answer> {
  const sent = text ?? (body === undefined ? undefined : JSON.stringify(body));
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
      ...(sent === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(sent === undefined ? {} : { body: sent }),
  });
  const received = await response.text();
  const answer = received === '' ? {} : (JSON.parse(received) as Answer['body']);
  document.check(method, path, response.status, response.headers.get('content-type'), answer);
  if (response.status >= 400) {
    assert.ok(answer.error, received);
    assert.ok(Object.hasOwn(catalogue, answer.error.code), received);
    assert.doesNotMatch(received, /\bat .*\.(ts|js):\d|node_modules|postgres:\/\//);
  }
  return { status: response.status, body: answer };
}
