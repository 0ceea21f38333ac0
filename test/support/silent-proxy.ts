import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';

export interface SilentProxy {
  /** The same credentials, through the proxy. */
  config: KubeConfig;
  /** From now on it takes connections and bytes, and nothing goes on. */
  fallSilent(): void;
  goOn(): void;
}

/** Between a client and an API server: makes of it one that hangs, which a killed one is not: that one refuses. */
export async function startSilentProxy(t: TestContext, to: KubeConfig): Promise<SilentProxy> {
  const cluster = to.getCurrentCluster();
  if (cluster === null) throw new Error('the kubeconfig names no cluster');
  const server = new URL(cluster.server);
  const sockets = new Set<Socket>();
  let silent = false;
  const proxy = createServer((client) => {
    const upstream = connect(Number(server.port), server.hostname);
    for (const [from, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on('error', () => other.destroy());
      from.on('close', () => {
        sockets.delete(from);
        other.destroy();
      });
      from.on('data', (bytes) => other.write(bytes));
      if (silent) from.pause();
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const config = new KubeConfig();
  const user = to.getCurrentUser();
  if (user === null) throw new Error('the kubeconfig names no user');
  const { port } = proxy.address() as AddressInfo;
  config.loadFromClusterAndUser({ ...cluster, server: `https://127.0.0.1:${port}` }, user);
  return {
    config,
    fallSilent: () => {
      silent = true;
      for (const socket of sockets) socket.pause();
    },
    goOn: () => {
      silent = false;
      for (const socket of sockets) socket.resume();
    },
  };
}
