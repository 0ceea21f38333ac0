import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Metrics } from './metrics.ts';

/** Where a server listens. */
export interface Address {
  host: string;
  /** 0: any free port. */
  port: number;
}

export interface MetricsServer {
  /** Of `/metrics`. */
  url: string;
  stop: () => Promise<void>;
}

/** Serves the metrics apart from the API: they name the tenants and what each spends, which is nothing for those who call the gateway. */
export async function serveMetrics(metrics: Metrics, { host, port }: Address): Promise<MetricsServer> {
  const { registry } = metrics;
  const server = http.createServer((request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    registry.metrics().then(
      (text) => response.setHeader('content-type', registry.contentType).end(text),
      () => response.writeHead(500).end(),
    );
  });
  server.listen(port, host);
  await once(server, 'listening');
  return {
    url: `${urlOf(server)}/metrics`,
    stop: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Base URL of a server that listens, without a trailing slash. */
export function urlOf(server: http.Server): string {
  const { address, family, port } = server.address() as AddressInfo;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}
