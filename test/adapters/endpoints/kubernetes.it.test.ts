import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import {
  CoreV1Api,
  DiscoveryV1Api,
  KubeConfig,
  type V1Endpoint,
  type V1EndpointSlice,
} from '@kubernetes/client-node';
import { KubernetesEndpoints } from '../../../adapters/endpoints/kubernetes.ts';
import { freePort } from '../../../deploy/local/ports.ts';
import { digestOf, shortDigest } from '../../../domain/digest.ts';
import { until } from '../../gateway/support.ts';
import { startKubernetes, type TestKubernetes } from '../../support/kubernetes.ts';
import { silentLog } from '../../support/log.ts';
import { gatewayUser, grantedGatewayUser } from './granted.ts';

const serving = digestOf('a serving');
const other = digestOf('another serving');

let kubernetes: TestKubernetes;
let core: CoreV1Api;
let discovery: DiscoveryV1Api;
const sources: KubernetesEndpoints[] = [];
const proxies: { cut: () => Promise<void> }[] = [];

before(async () => {
  kubernetes = await startKubernetes({ own: true });
  core = kubernetes.admin.makeApiClient(CoreV1Api);
  discovery = kubernetes.admin.makeApiClient(DiscoveryV1Api);
});

after(async () => {
  await Promise.all(sources.map((source) => source.stop()));
  await Promise.all(proxies.map((proxy) => proxy.cut()));
  await kubernetes?.stop();
});

async function follow(namespace: string, kubeConfig: KubeConfig): Promise<KubernetesEndpoints> {
  const source = new KubernetesEndpoints({ kubeConfig, namespace, logger: silentLog });
  sources.push(source);
  await source.start();
  return source;
}

const endpoint = (address: string, conditions: V1Endpoint['conditions'] = { ready: true }): V1Endpoint => ({
  addresses: [address],
  conditions,
});

function sliceOf(name: string, of: string | null, endpoints: V1Endpoint[]): V1EndpointSlice {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, labels: of === null ? {} : { 'slipway.dev/serving': shortDigest(of) } },
    addressType: endpoints[0]?.addresses[0]?.includes(':') ? 'IPv6' : 'IPv4',
    ports: [{ name: 'http', port: 8000, protocol: 'TCP' }],
    endpoints,
  };
}

const create = (namespace: string, body: V1EndpointSlice) =>
  discovery.createNamespacedEndpointSlice({ namespace, body });
const replace = (namespace: string, body: V1EndpointSlice) =>
  discovery.replaceNamespacedEndpointSlice({ namespace, name: body.metadata?.name ?? '', body });
const remove = (namespace: string, name: string) =>
  discovery.deleteNamespacedEndpointSlice({ namespace, name });

const shows = (source: KubernetesEndpoints, of: string, expected: string[] | null) =>
  until(
    () => source.endpointsOf(of),
    (found) => JSON.stringify(found) === JSON.stringify(expected),
    `the endpoints ${JSON.stringify(expected)}`,
  );

const touched = (source: KubernetesEndpoints, healthy: boolean) =>
  until(
    () => source.healthy,
    (now) => now === healthy,
    `healthy: ${healthy}`,
  );

describe('endpoints from a cluster', () => {
  it('are there at the start and follow every change, with the permission to list and watch slices only', async () => {
    const namespace = await kubernetes.createNamespace();
    await create(namespace, sliceOf('one', serving, [endpoint('10.1.0.1')]));
    await create(namespace, sliceOf('unrelated', null, [endpoint('10.1.0.9')]));
    const source = await follow(namespace, await grantedGatewayUser(kubernetes, namespace));
    assert.equal(source.healthy, true);
    assert.deepEqual(source.endpointsOf(serving), ['http://10.1.0.1:8000']);
    assert.equal(source.endpointsOf(other), null);

    await create(
      namespace,
      sliceOf('two', serving, [endpoint('10.1.0.2'), endpoint('10.1.0.3', { ready: false })]),
    );
    await shows(source, serving, ['http://10.1.0.1:8000', 'http://10.1.0.2:8000']);
    await create(namespace, sliceOf('six', serving, [endpoint('fd00::1')]));
    await shows(source, serving, ['http://10.1.0.1:8000', 'http://10.1.0.2:8000', 'http://[fd00::1]:8000']);
    await remove(namespace, 'six');
    const leaving = endpoint('10.1.0.1', { ready: false, serving: true, terminating: true });
    await replace(namespace, sliceOf('one', serving, [leaving]));
    await shows(source, serving, ['http://10.1.0.2:8000']);
    await replace(namespace, sliceOf('two', serving, []));
    await shows(source, serving, ['http://10.1.0.1:8000']);
    await remove(namespace, 'one');
    await shows(source, serving, []);
    await remove(namespace, 'two');
    await shows(source, serving, null);
    await create(namespace, sliceOf('three', other, [endpoint('10.1.0.4')]));
    await shows(source, other, ['http://10.1.0.4:8000']);
  });

  it("are those of the Service's pods, whose slices the cluster itself makes with the Service's label", async () => {
    const namespace = await kubernetes.createNamespace();
    const source = await follow(namespace, kubernetes.admin);
    const labels = { 'slipway.dev/serving': shortDigest(serving) };
    await core.createNode({ body: { metadata: { name: 'node' } } });
    await core.createNamespacedService({
      namespace,
      body: {
        metadata: { name: `slipway-${shortDigest(serving)}`, labels },
        spec: { selector: labels, ports: [{ name: 'http', port: 8000, targetPort: 'http' }] },
      },
    });
    await core.createNamespacedPod({
      namespace,
      body: {
        metadata: { name: 'replica', labels },
        spec: {
          nodeName: 'node',
          containers: [{ name: 'vllm', image: 'none', ports: [{ name: 'http', containerPort: 8123 }] }],
        },
      },
    });
    await core.patchNamespacedPodStatus({
      namespace,
      name: 'replica',
      body: [
        {
          op: 'replace',
          path: '/status',
          value: {
            phase: 'Running',
            podIP: '10.1.0.7',
            podIPs: [{ ip: '10.1.0.7' }],
            conditions: [{ type: 'Ready', status: 'True' }],
          },
        },
      ],
    });
    await shows(source, serving, ['http://10.1.0.7:8123']);
    await core.deleteNamespacedPod({ namespace, name: 'replica', gracePeriodSeconds: 0 });
    await shows(source, serving, []);
    await core.deleteNode({ name: 'node' });
  });

  it('that may not be read are unknown until they may be', async () => {
    const namespace = await kubernetes.createNamespace();
    await create(namespace, sliceOf('one', serving, [endpoint('10.1.0.1')]));
    const source = await follow(namespace, gatewayUser(kubernetes, namespace));
    assert.equal(source.healthy, false);
    assert.equal(source.endpointsOf(serving), null);
    await grantedGatewayUser(kubernetes, namespace);
    await shows(source, serving, ['http://10.1.0.1:8000']);
    assert.equal(source.healthy, true);
  });

  it('stay as last seen while the API server is away, and are followed again when it is back', async () => {
    const namespace = await kubernetes.createNamespace();
    await create(namespace, sliceOf('one', serving, [endpoint('10.1.0.1')]));
    const source = await follow(namespace, kubernetes.admin);
    const { apiServer } = kubernetes.control ?? assert.fail('a control plane of its own');
    await apiServer.kill('SIGKILL');
    await touched(source, false);
    assert.deepEqual(source.endpointsOf(serving), ['http://10.1.0.1:8000']);
    const late = await follow(namespace, kubernetes.admin);
    assert.equal(late.endpointsOf(serving), null);
    await apiServer.start();
    await touched(source, true);
    await touched(late, true);
    await replace(namespace, sliceOf('one', serving, [endpoint('10.1.0.2')]));
    for (const each of [source, late]) await shows(each, serving, ['http://10.1.0.2:8000']);
  });

  it('catch up with all that a broken connection hid, removals too, also over a restart of the API server', async () => {
    const namespace = await kubernetes.createNamespace();
    const proxy = await startProxy(Number(new URL(kubernetes.url).port));
    proxies.push(proxy);
    await create(namespace, sliceOf('one', serving, [endpoint('10.1.0.1')]));
    await create(namespace, sliceOf('two', other, [endpoint('10.1.0.2')]));
    const source = await follow(namespace, through(kubernetes.admin, proxy.port));
    assert.deepEqual(source.endpointsOf(other), ['http://10.1.0.2:8000']);
    for (const restart of [false, true]) {
      await proxy.cut();
      await touched(source, false);
      const suffix = restart ? 1 : 0;
      await replace(namespace, sliceOf('one', serving, [endpoint(`10.1.1.${suffix}`)]));
      if (restart) await remove(namespace, 'three');
      else {
        await remove(namespace, 'two');
        await create(namespace, sliceOf('three', other, [endpoint('10.1.0.3')]));
      }
      if (restart) {
        await kubernetes.control?.apiServer.kill('SIGKILL');
        await kubernetes.control?.apiServer.start();
      }
      assert.deepEqual(source.endpointsOf(serving), [
        restart ? 'http://10.1.1.0:8000' : 'http://10.1.0.1:8000',
      ]);
      await proxy.mend();
      await shows(source, serving, [`http://10.1.1.${suffix}:8000`]);
      await shows(source, other, restart ? null : ['http://10.1.0.3:8000']);
      await touched(source, true);
    }
  });
});

/** The same cluster at another port of this machine. */
function through(config: KubeConfig, port: number): KubeConfig {
  const cluster = config.getCurrentCluster() ?? assert.fail('no cluster');
  const user = config.getCurrentUser() ?? assert.fail('no user');
  const url = new URL(cluster.server);
  url.port = String(port);
  const other = new KubeConfig();
  other.loadFromClusterAndUser({ ...cluster, server: url.origin }, user);
  return other;
}

/** A network that can be cut. */
async function startProxy(target: number) {
  const sockets = new Set<Socket>();
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  };
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1');
    keep(near);
    keep(far);
    near.pipe(far).pipe(near);
    for (const [one, two] of [
      [near, far],
      [far, near],
    ] as const) {
      one.once('close', () => two.destroy());
    }
  });
  // One that nobody else is given while the network is cut.
  const port = await freePort();
  const listen = () => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', () => resolve()));
  await listen();
  return {
    port,
    cut: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
    mend: listen,
  };
}
