import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CoreV1Api } from '@kubernetes/client-node';
import { createKubernetesClient } from '../../../adapters/kubernetes/client.ts';
import type { ClusterSettings } from '../../../domain/kubernetes/settings.ts';
import { type FlagValue, servingDigest, type WantedServing } from '../../../domain/serving/serving.ts';
import { whyNoNodes } from '../../../simulator/nodes/addresses.ts';
import { type RunningNodes, startNodes } from '../../../simulator/nodes/nodes.ts';
import { exampleServing, until } from '../../support/servings.ts';
import { temporaryFolder } from '../../support/stack.ts';
import { type Bench, followed, startBench } from './kubernetes-support.ts';

/** A serving of its own for each test, on GPUs of a kind. */
function servingOn(kind: string, count = 1, flags: Record<string, FlagValue> = {}): WantedServing {
  const serving = exampleServing(1, flags);
  const runtime = { ...serving.runtime, gpu: { ...serving.runtime.gpu, kind, count } };
  return { ...serving, runtime, digest: servingDigest(serving.model, runtime) };
}

const gpus = (product: string): ClusterSettings['gpus'] => ({
  [product]: {
    resource: 'nvidia.com/gpu',
    nodeSelector: { 'nvidia.com/gpu.product': product },
    tolerations: [],
  },
});

describe('what goes wrong on Kubernetes is told with its remedy', {
  skip: (await whyNoNodes()) ?? false,
}, () => {
  const folder = temporaryFolder();
  let bench: Bench;
  let slow: RunningNodes;
  let core: CoreV1Api;
  before(async () => {
    bench = await startBench([
      { name: 'gpu-1', gpuProduct: 'A100-80GB', gpus: 4 },
      { name: 'gpu-2', gpuProduct: 'A100-80GB', gpus: 2 },
      {
        name: 'kept',
        gpuProduct: 'H100-80GB',
        gpus: 8,
        taints: [{ key: 'team', value: 'x', effect: 'NoSchedule' }],
      },
    ]);
    core = bench.kubernetes.admin.makeApiClient(CoreV1Api);
    // Loads for hours, as seen by probes of seconds.
    slow = await startNodes({
      kubeConfig: bench.kubernetes.admin,
      nodes: [{ name: 'slow-1', gpuProduct: 'L40S-48GB', gpus: 8 }],
      stateFolder: join(folder.path, 'slow'),
      environment: { SIMULATOR_SPEED: '0.001' },
      backoff: { baseMs: 100 },
      pullMs: 20,
      addressRange: '10.245.0.0/16',
    });
  });
  after(async () => {
    await slow?.stop();
    await bench?.stop();
    folder.remove();
  });

  /** Applies and follows the serving until its message says something of the kind; the state must be as told. */
  async function told(
    serving: WantedServing,
    changes: Partial<ClusterSettings>,
    state: 'starting' | 'failed',
    message: RegExp,
    namespace?: string,
  ) {
    const adapter = await bench.adapter(namespace ?? (await bench.kubernetes.createNamespace()), changes);
    await adapter.apply(serving);
    const seen = await until(
      `${state}: ${message}`,
      () => adapter.observe(serving.digest),
      (one) => one.state === state && message.test(one.message),
    );
    return { adapter, seen };
  }

  test('too few GPUs: how many are wanted, how many are free and where', async () => {
    const { adapter, seen } = await told(
      servingOn('A100-80GB', 8),
      {},
      'starting',
      /^0 of 1 replica ready, 1 waiting for a node: too few GPUs: it wants 8 nvidia\.com\/gpu on one node, free are \d \(gpu-1 \d of 4, gpu-2 \d of 2\)$/,
    );
    assert.match(seen.remedy ?? '', /^Add a node with such GPUs/);
    const items = await adapter.check(servingOn('A100-80GB', 8, { seed: 1 }), 1);
    const item = items.find((one) => one.item === 'GPUs of the cluster');
    assert.equal(item?.passed, false);
    assert.match(
      item?.message ?? '',
      /^wanted 1 × 8 A100-80GB; no node can ever hold a replica, the largest has 4 GPUs \(gpu-1/,
    );
  });

  test('nodes with a taint that is not tolerated', async () => {
    const { seen } = await told(
      servingOn('H100-80GB'),
      { gpus: gpus('H100-80GB') },
      'starting',
      /no node takes it: kept is tainted team=x:NoSchedule$/,
    );
    assert.match(seen.remedy ?? '', /Add a toleration of team=x:NoSchedule/);
  });

  test('no node of the GPU kind', async () => {
    const { seen } = await told(
      servingOn('H200-141GB'),
      { gpus: gpus('H200-141GB') },
      'starting',
      /none of the 4 nodes has nvidia\.com\/gpu\.product=H200-141GB$/,
    );
    assert.match(seen.remedy ?? '', /nodeSelector/);
  });

  test('an image that does not exist', async () => {
    const image = `vllm/vllm-openia@sha256:${'1'.repeat(64)}`;
    const { seen } = await told(servingOn('A100-80GB'), { image }, 'failed', /cannot be pulled: .*not found/);
    assert.match(seen.message, /the image vllm\/vllm-openia@sha256:1+ cannot be pulled: not found$/);
    assert.match(seen.remedy ?? '', /^Correct runtime\.image/);
  });

  test('a quota', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    await core.createNamespacedResourceQuota({
      namespace,
      body: { metadata: { name: 'gpus' }, spec: { hard: { 'requests.nvidia.com/gpu': '0' } } },
    });
    const { adapter, seen } = await told(
      servingOn('A100-80GB'),
      {},
      'failed',
      /the quota gpus is used up: wanted requests\.nvidia\.com\/gpu=1 more, used requests\.nvidia\.com\/gpu=0, limit requests\.nvidia\.com\/gpu=0$/,
      namespace,
    );
    assert.match(seen.remedy ?? '', /^Raise the ResourceQuota gpus/);
    const items = await adapter.check(servingOn('A100-80GB', 1, { seed: 1 }), 2);
    const item = items.find((one) => one.item === 'quota of the namespace');
    assert.equal(item?.message, 'gpus allows 0 requests.nvidia.com/gpu, 0 are used, 2 more are wanted');
    assert.equal(item?.passed, false);
  });

  test('a policy that refuses its pods', async () => {
    const namespace = await bench.kubernetes.createNamespace({
      'pod-security.kubernetes.io/enforce': 'restricted',
    });
    const { seen } = await told(
      servingOn('A100-80GB'),
      { runAsUser: 0 },
      'failed',
      /violates PodSecurity/,
      namespace,
    );
    assert.match(seen.message, /the cluster refuses its pods: violates PodSecurity/);
  });

  test('a verb that the role does not have', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const config = await bench.restricted(namespace, (permission) =>
      permission.resource === 'deployments'
        ? { ...permission, verbs: permission.verbs.filter((verb) => verb !== 'create') }
        : permission.resource === 'pods/log'
          ? null
          : permission,
    );
    const adapter = await bench.adapter(namespace, {}, config);
    const serving = servingOn('A100-80GB');
    await assert.rejects(
      adapter.apply(serving),
      (error: Error & { code?: string; details?: { remedy?: string } }) => {
        assert.equal(error.code, 'FORBIDDEN');
        assert.match(error.message, /^worker-\d+ may not create deployments\.apps in namespace test-/);
        assert.match(
          error.details?.remedy ?? '',
          /Add the verb create on deployments\.apps to the role of worker-/,
        );
        return true;
      },
    );
    const items = await adapter.check(serving, 1);
    assert.deepEqual(
      items
        .filter(({ passed }) => !passed)
        .map(({ item, message }) => `${item}: ${message.replace(/worker-\d+|test-\w+/g, '…')}`),
      [
        'Kubernetes permissions: it may not create deployments.apps',
        'objects taken by the API server: … may not create deployments.apps in namespace …',
      ],
    );
    await adapter.remove(serving.digest);
    await followed(adapter, serving.digest, 'absent');
  });

  test('a model that does not fit its GPU: what vLLM says of it', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const { seen } = await told(
      servingOn('A100-80GB', 1, { 'gpu-memory-utilization': 0.15 }),
      {},
      'failed',
      /vllm in pod slipway-\S+ ended \d times, with status 1\. The end of its log:\n/,
      namespace,
    );
    assert.match(seen.message, /No available memory for the cache blocks|KV cache/);
    const pod = / in pod (\S+) /.exec(seen.message)?.[1] ?? '';
    const client = createKubernetesClient(await bench.restricted(namespace));
    const log = await client.log({ namespace, name: pod }, 'vllm', { lines: 5, previous: true });
    assert.match(log ?? '', /No available memory for the cache blocks/);
    assert.match(
      seen.remedy ?? '',
      /^Lower --max-model-len, raise --gpu-memory-utilization, or use more GPUs$/,
    );
  });

  test('a flag that vLLM does not know', async () => {
    const { seen } = await told(
      servingOn('A100-80GB', 1, { 'max-modle-len': 1 }),
      {},
      'failed',
      /unrecognized arguments: --max-modle-len/,
    );
    assert.equal(seen.remedy, 'Correct runtime.flags: this vLLM does not know one of them');
  });

  test('too little memory of the host', async () => {
    const { seen } = await told(
      servingOn('A100-80GB'),
      { resources: { cpu: '1', memory: '1Gi' } },
      'failed',
      /killed for lack of memory: the host's memory that it may use was too little/,
    );
    assert.match(seen.remedy ?? '', /^Raise resources\.memory/);
  });

  test('a probe that never passes', async () => {
    const { seen } = await told(
      servingOn('L40S-48GB'),
      { gpus: gpus('L40S-48GB'), startup: 2_000 },
      'failed',
      /does not answer its probe and was started afresh 3 times: Startup probe failed: /,
    );
    assert.match(seen.remedy ?? '', /raise startup/);
  });

  test('no progress for too long', async () => {
    const { seen } = await told(
      servingOn('L40S-48GB', 1, { seed: 1 }),
      { gpus: gpus('L40S-48GB'), startup: 60_000, progressDeadline: 2_000 },
      'failed',
      /the Deployment gave up waiting: ReplicaSet .* has timed out progressing/,
    );
    assert.match(seen.remedy ?? '', /raise progressDeadline/);
  });

  test('a secret that does not exist, until it does', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const hfToken = { name: 'hf-token', key: 'token' };
    const serving = servingOn('A100-80GB');
    const { adapter, seen } = await told(
      serving,
      { hfToken },
      'failed',
      /the secret hf-token does not exist$/,
      namespace,
    );
    assert.equal(seen.remedy, "Create the secret hf-token, or correct its name in the cluster's settings");
    await core.createNamespacedSecret({
      namespace,
      body: { metadata: { name: 'hf-token' }, stringData: { other: 'x' } },
    });
    await until(
      'no key',
      () => adapter.observe(serving.digest),
      ({ message }) => /the secret hf-token has no key token/.test(message),
    );
    await core.patchNamespacedSecret({
      name: 'hf-token',
      namespace,
      body: [{ op: 'add', path: '/data/token', value: Buffer.from('x').toString('base64') }],
    });
    await followed(adapter, serving.digest, 'ready');
  });

  test('a claim that does not exist', async () => {
    const { adapter, seen } = await told(
      servingOn('A100-80GB'),
      { modelCache: { claim: 'weights' }, priorityClass: null },
      'starting',
      /the PersistentVolumeClaim weights does not exist$/,
    );
    assert.match(seen.remedy ?? '', /^Create the claim weights/);
    const item = (await adapter.check(servingOn('A100-80GB', 1, { seed: 1 }), 1)).find(
      ({ passed }) => !passed,
    );
    assert.equal(item?.message, 'PersistentVolumeClaim weights does not exist');
  });

  test('a failed serving is started afresh by the next apply', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const image = `vllm/none@sha256:${'1'.repeat(64)}`;
    const serving = servingOn('A100-80GB');
    const { adapter } = await told(serving, { image }, 'failed', /cannot be pulled/, namespace);
    const mended = await bench.adapter(namespace);
    await mended.apply(serving);
    await adapter.changed(serving.digest, AbortSignal.timeout(100));
    const seen = await until(
      'ready',
      async () => {
        const one = await mended.observe(serving.digest);
        if (one.state === 'stopping' || one.state === 'absent') await mended.apply(serving);
        return one;
      },
      ({ state }) => state === 'ready',
    );
    assert.equal(seen.ready, 1);
  });
});
