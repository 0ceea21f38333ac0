import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { selfSigned } from './certificate.ts';
import { logTail } from './log-file.ts';
import { KUBELET_PORT } from './node-object.ts';
import type { Pod } from './pod.ts';

const MOST_BYTES = 10 * 2 ** 20;

/** The part of a kubelet's endpoint that the API server needs for a pod's log: `/containerLogs/NAMESPACE/POD/CONTAINER`. */
export class KubeletServer {
  #server: Server;
  #podNamed: (namespace: string, name: string) => Pod | undefined;

  private constructor(server: Server, podNamed: (namespace: string, name: string) => Pod | undefined) {
    this.#server = server;
    this.#podNamed = podNamed;
    server.on('request', (request, response) => this.#answer(request, response));
  }

  static async listen(
    name: string,
    address: string,
    podNamed: (namespace: string, name: string) => Pod | undefined,
  ): Promise<KubeletServer> {
    const server = createServer(selfSigned(`system:node:${name}`, [address]));
    const kubelet = new KubeletServer(server, podNamed);
    server.listen(KUBELET_PORT, address);
    await once(server, 'listening');
    return kubelet;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const [status, text] = this.#log(request);
    response.writeHead(status, { 'content-type': 'text/plain' });
    response.end(text);
  }

  #log(request: IncomingMessage): [status: number, text: string] {
    const url = new URL(request.url ?? '/', 'https://kubelet');
    const [kind, namespace = '', podName = '', containerName = ''] = url.pathname
      .split('/')
      .slice(1)
      .map(decodeURIComponent);
    if (kind !== 'containerLogs') return [404, '404 page not found\n'];
    const pod = this.#podNamed(namespace, podName);
    if (pod === undefined) return [404, `pod "${podName}" not found\n`];
    const container = pod.container(containerName);
    if (container === undefined) {
      return [400, `container ${containerName} not found in pod ${podName}_${namespace}`];
    }
    const previous = url.searchParams.get('previous') === 'true';
    const lines = Number(url.searchParams.get('tailLines') ?? Number.MAX_SAFE_INTEGER);
    const bytes = Number(url.searchParams.get('limitBytes') ?? MOST_BYTES);
    try {
      return [200, logTail(container.logFile(previous), lines, Math.min(bytes, MOST_BYTES))];
    } catch {
      const reason = container.status.state?.waiting?.reason;
      return [
        400,
        previous || reason === undefined
          ? `previous terminated container "${containerName}" in pod "${podName}" not found`
          : `container "${containerName}" in pod "${podName}" is waiting to start: ${reason}`,
      ];
    }
  }
}
