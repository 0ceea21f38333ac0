import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { KubernetesEndpoints } from '../../../adapters/endpoints/kubernetes.ts';
import { createKubernetesClient } from '../../../adapters/kubernetes/client.ts';
import type { Pod } from '../../../adapters/kubernetes/objects.ts';
import { resources } from '../../../adapters/kubernetes/resources.ts';
import { SlipwayError } from '../../../domain/errors.ts';
import { selectorOf } from '../../../domain/kubernetes/objects.ts';
import { whyNoNodes } from '../../../simulator/nodes/addresses.ts';
import { silentLog } from '../../support/log.ts';
import { exampleServing, until } from '../../support/servings.ts';
import { startSilentProxy } from '../../support/silent-proxy.ts';
import { type Bench, followed, startBench } from './kubernetes-support.ts';

/** What an attempt of an activity has: who hangs for longer cannot say why. */
const ATTEMPT_MS = 60_000;

describe('an API server that takes requests and never answers', {
  skip: (await whyNoNodes()) ?? false,
}, () => {
  let bench: Bench;
  before(async () => {
    bench = await startBench([{ name: 'gpu-1', gpuProduct: 'A100-80GB', gpus: 4 }]);
  });
  after(() => bench?.stop());

  test('is told as an outage in time, and is found again; gateways keep the last they knew', async (t) => {
    const { admin } = bench.kubernetes;
    const namespace = await bench.kubernetes.createNamespace();
    const proxy = await startSilentProxy(t, admin);
    const adapter = await bench.adapter(namespace, {}, proxy.config);
    const endpoints = new KubernetesEndpoints({ kubeConfig: proxy.config, namespace, logger: silentLog });
    t.after(() => endpoints.stop());
    const serving = exampleServing();
    const { digest } = serving;
    await adapter.apply(serving);
    await followed(adapter, digest, 'ready');
    await endpoints.start();
    const [pod] = await until(
      'the endpoint is followed',
      () => endpoints.endpointsOf(digest) ?? [],
      ({ length }) => length === 1,
    );

    proxy.fallSilent();
    const asked = (what: Promise<unknown>): Promise<unknown> =>
      Promise.race([
        what.then(
          () => 'answered',
          (error) => error,
        ),
        delay(ATTEMPT_MS, 'nothing', { ref: false }),
      ]);
    const told = await Promise.all([
      asked(adapter.observe(digest)),
      asked(adapter.apply({ ...serving, replicas: 2 })),
      asked(adapter.remove(digest)),
    ]);
    for (const error of told) {
      assert.ok(error instanceof SlipwayError, String(error));
      assert.equal(error.code, 'DEPENDENCY_UNAVAILABLE');
    }
    await until(
      'that nothing is heard any more',
      () => endpoints.healthy,
      (healthy) => !healthy,
    );
    assert.deepEqual(endpoints.endpointsOf(digest), [pod]);
    const client = createKubernetesClient(admin);
    const labelSelector = selectorOf(digest);
    const { items } = await client.list<Pod>(resources.pods, { namespace, labelSelector });
    for (const { metadata } of items) await client.remove(resources.pods, { namespace, name: metadata.name });

    proxy.goOn();
    await followed(adapter, digest, 'ready');
    await until(
      'the new pod is followed',
      () => endpoints.endpointsOf(digest) ?? [],
      ([now]) => now !== undefined && now !== pod,
    );
    await adapter.remove(digest);
    await followed(adapter, digest, 'absent');
  });
});
