import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';

/** A server that plays a script: what a real one says only after minutes or by accident. Each request takes the next line. */
export type Line = (response: ServerResponse, request: URL, sent: IncomingMessage) => void;

/** The server's credentials, and the requests that it gets. What comes after the script is answered with an open stream. */
export async function startScript(
  t: TestContext,
  script: readonly Line[],
): Promise<{ config: KubeConfig; requests: URL[] }> {
  const requests: URL[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    const url = new URL(request.url ?? '', 'http://x');
    requests.push(url);
    const line = script[requests.length - 1];
    if (line === undefined) response.writeHead(200).flushHeaders();
    else line(response, url, request);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const config = new KubeConfig();
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  config.loadFromClusterAndUser({ name: 'script', server: address, skipTLSVerify: true }, { name: 'test' });
  return { config, requests };
}

export const answer =
  (body: unknown): Line =>
  (response) => {
    response.end(JSON.stringify(body));
  };

export const refuse =
  (code: number, message = 'no', reason = '', details = {}): Line =>
  (response) => {
    response.writeHead(code);
    response.end(JSON.stringify({ kind: 'Status', code, reason, message, details }));
  };
