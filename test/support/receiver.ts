import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

/** A receiver of webhooks that remembers what it got. */
export async function startReceiver(t: TestContext) {
  const received: { method: string | undefined; headers: IncomingHttpHeaders; body: string }[] = [];
  let answer: number | 'never' = 200;
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    received.push({ method: request.method, headers: request.headers, body });
    if (answer !== 'never') response.writeHead(answer, { location: '/elsewhere' }).end();
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const stop = async (): Promise<void> => {
    server.closeAllConnections();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  t.after(stop);
  return {
    url: `http://127.0.0.1:${port}`,
    received,
    answerWith: (status: number | 'never'): void => {
      answer = status;
    },
    stop,
  };
}
