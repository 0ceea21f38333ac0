import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { whyNoNodes } from '../../../simulator/nodes/addresses.ts';
import { type RunningNodes, startNodes } from '../../../simulator/nodes/nodes.ts';
import { startKubernetes, type TestKubernetes } from '../../support/kubernetes.ts';
import { temporaryFolder } from '../../support/stack.ts';
import { eventually, isReady, MODEL, vllm, Workloads } from './support.ts';

const addressesOfThisMachine = () =>
  Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));

const health = (podIP: string | undefined) =>
  fetch(`http://${podIP}:8000/health`).then(
    ({ status }) => status,
    () => 0,
  );

describe('simulated GPU nodes', { skip: (await whyNoNodes()) ?? false }, () => {
  const folder = temporaryFolder();
  let kubernetes: TestKubernetes;
  let nodes: RunningNodes;
  let work: Workloads;

  before(async () => {
    kubernetes = await startKubernetes({ own: true });
    nodes = await startNodes({
      kubeConfig: kubernetes.admin,
      nodes: [
        { name: 'gpu-1', gpuProduct: 'A100-80GB', gpus: 4 },
        { name: 'small', gpuProduct: 'L4-24GB', gpus: 1, taints: [{ key: 'small', effect: 'NoSchedule' }] },
      ],
      stateFolder: join(folder.path, 'nodes'),
      environment: { SIMULATOR_SPEED: '20' },
      backoff: { baseMs: 300 },
      pullMs: 50,
    });
    work = new Workloads(kubernetes.admin, await kubernetes.createNamespace());
  });

  afterEach(() => work.removePods());

  after(async () => {
    await nodes?.stop();
    await kubernetes?.stop();
    folder.remove();
  });

  it('make a Deployment available, whose pods serve at addresses of their own and are ready endpoints', async () => {
    await work.createService('fine');
    await work.createDeployment('fine', 2, vllm());
    await eventually('two replicas', async () => {
      const { status } = await work.apps.readNamespacedDeployment({
        name: 'fine',
        namespace: work.namespace,
      });
      return status?.availableReplicas === 2;
    });
    const pods = await work.pods('fine');
    const addresses = pods.map(({ status }) => status?.podIP ?? '');
    assert.equal(new Set(addresses).size, 2);
    for (const address of addresses) {
      assert.match(address, /^10\.244\./);
      assert.equal(await health(address), 200);
    }
    const endpoints = await eventually('two ready endpoints', async () => {
      const all = await work.endpoints('fine');
      return all.length === 2 && all.every(({ ready }) => ready) && all;
    });
    assert.deepEqual(endpoints.map(({ address }) => address).sort(), addresses.sort());
    const [first] = pods;
    const name = first?.metadata?.name ?? '';
    assert.match(await work.log(name), /Uvicorn running on http:\/\/10\.244\./);
    for (const expected of [
      'Pulling: Pulling image "vllm/vllm-openai:v0.20.0"',
      'Created: Created container: vllm',
      'Started: Started container vllm',
    ]) {
      await eventually(expected, async () => (await work.events(name)).includes(expected));
    }
    await work.apps.deleteNamespacedDeployment({ name: 'fine', namespace: work.namespace });
    await eventually('the pods are gone', async () => (await work.pods('fine')).length === 0);
    const left = addressesOfThisMachine().filter((address) => addresses.includes(address));
    assert.deepEqual(left, []);
  });

  it('restart a container whose probe looks at a wrong port, which never becomes ready', async () => {
    const startupProbe = { httpGet: { path: '/health', port: 9000 }, periodSeconds: 1, failureThreshold: 2 };
    await work.createPod('wrong-port', vllm({ startupProbe }));
    await eventually('a restart', async () => ((await work.container('wrong-port'))?.restartCount ?? 0) > 0);
    const pod = await work.pod('wrong-port');
    assert.equal(isReady(pod), false);
    assert.equal(pod.status?.phase, 'Running');
    await work.hasEvent(
      'wrong-port',
      /Unhealthy: Startup probe failed: Get "http:\/\/10\.244\.\d+\.\d+:9000\/health": dial tcp/,
    );
    await work.hasEvent('wrong-port', /connect: connection refused/);
    await work.hasEvent('wrong-port', /Killing: Container vllm failed startup probe, will be restarted/);
    await work.core.deleteNamespacedPod({
      name: 'wrong-port',
      namespace: work.namespace,
      gracePeriodSeconds: 1,
    });
  });

  it('restart a container that stops being alive, and take it out of the endpoints when it is not ready', async () => {
    const probe = (path: string) => ({ httpGet: { path, port: 'http' }, periodSeconds: 1 });
    await work.createService('unwell');
    await work.createPod(
      'unwell',
      vllm({ readinessProbe: probe('/none'), livenessProbe: { ...probe('/none'), failureThreshold: 2 } }),
    );
    const [endpoint] = await eventually('an endpoint', async () => {
      const all = await work.endpoints('unwell');
      return all.length > 0 && all;
    });
    assert.equal(endpoint?.ready, false);
    await eventually('a restart', async () => ((await work.container('unwell'))?.restartCount ?? 0) > 0);
    await work.hasEvent(
      'unwell',
      /Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 404/,
    );
    await work.hasEvent('unwell', /Killing: Container vllm failed liveness probe, will be restarted/);
  });

  it('back off from a container that an unknown flag ends, and show its log', async () => {
    const container = vllm({
      args: [MODEL, '--max-modell-len', '1'],
      terminationMessagePolicy: 'FallbackToLogsOnError',
    });
    await work.createPod('unknown-flag', container);
    const status = await eventually('CrashLoopBackOff', async () => {
      const found = await work.container('unknown-flag');
      return found?.state?.waiting?.reason === 'CrashLoopBackOff' && found;
    });
    assert.match(
      status.state?.waiting?.message ?? '',
      /^back-off [\d.]+m?s restarting failed container=vllm pod=/,
    );
    assert.equal(status.lastState?.terminated?.exitCode, 2);
    assert.equal(status.lastState?.terminated?.reason, 'Error');
    assert.match(status.lastState?.terminated?.message ?? '', /unrecognized arguments: --max-modell-len 1/);
    await eventually('the log of a run', async () =>
      /error: unrecognized arguments: --max-modell-len 1\n$/.test(await work.log('unknown-flag')),
    );
    await eventually(
      'a second restart',
      async () => ((await work.container('unknown-flag'))?.restartCount ?? 0) > 1,
    );
    assert.match(await work.log('unknown-flag', true), /unrecognized arguments/);
    await work.hasEvent('unknown-flag', /BackOff: Back-off restarting failed container vllm/);
    await work.core.deleteNamespacedPod({ name: 'unknown-flag', namespace: work.namespace });
    await eventually('the pod is gone', () => work.gone('unknown-flag'));
  });

  it("say the model's memory, the host's memory and a wrong command as containers do", async () => {
    const failing: [
      string,
      Parameters<typeof vllm>[0],
      { exitCode: number; reason: string; message?: RegExp },
    ][] = [
      ['large', { args: ['meta-llama/Llama-3.1-70B-Instruct'] }, { exitCode: 1, reason: 'Error' }],
      [
        'poor',
        { resources: { limits: { 'nvidia.com/gpu': '1', memory: '4Gi' } } },
        { exitCode: 137, reason: 'OOMKilled' },
      ],
      [
        'command',
        { command: ['vlmm'] },
        { exitCode: 128, reason: 'StartError', message: /"vlmm": executable file not/ },
      ],
    ];
    const nodeSelector = { 'nvidia.com/gpu.product': 'L4-24GB' };
    for (const [name, changes, expected] of failing) {
      await work.createPod(name, vllm(changes), { nodeSelector, tolerations: [{ key: 'small' }] });
      const ended = await eventually(
        `${name} ends`,
        async () => (await work.container(name))?.lastState?.terminated,
      );
      assert.equal(ended.exitCode, expected.exitCode, name);
      assert.equal(ended.reason, expected.reason, name);
      assert.match(ended.message ?? '', expected.message ?? /^$/);
      if (name === 'large')
        assert.match(await work.log(name, true), /torch\.OutOfMemoryError: CUDA out of memory/);
      await work.core.deleteNamespacedPod({ name, namespace: work.namespace });
      await eventually(`${name} is gone`, () => work.gone(name));
    }
  });

  it('wait for images and secrets that do not exist', async () => {
    await work.createPod('no-image', vllm({ image: 'vllm/vllm-opnai:v0.20.0' }));
    await eventually('ImagePullBackOff', async () => {
      const reason = (await work.container('no-image'))?.state?.waiting?.reason;
      return reason === 'ImagePullBackOff';
    });
    await work.hasEvent(
      'no-image',
      /Failed: Failed to pull image "vllm\/vllm-opnai:v0\.20\.0": .*: not found/,
    );
    await work.hasEvent('no-image', /Failed: Error: ErrImagePull/);
    await work.core.deleteNamespacedPod({ name: 'no-image', namespace: work.namespace });

    const valueFrom = { secretKeyRef: { name: 'token', key: 'token' } };
    await work.createPod('no-secret', vllm({ env: [{ name: 'VLLM_API_KEY', valueFrom }] }));
    const waiting = await eventually('CreateContainerConfigError', async () => {
      const state = (await work.container('no-secret'))?.state?.waiting;
      return state?.reason === 'CreateContainerConfigError' && state;
    });
    assert.equal(waiting.message, 'secret "token" not found');
    await work.core.createNamespacedSecret({
      namespace: work.namespace,
      body: { metadata: { name: 'token' }, stringData: { token: 'k3y' } },
    });
    await eventually('the pod is ready', () => work.ready('no-secret'));
    const models = `http://${(await work.pod('no-secret')).status?.podIP}:8000/v1/models`;
    assert.equal((await fetch(models)).status, 401);
    assert.equal((await fetch(models, { headers: { authorization: 'Bearer k3y' } })).status, 200);
  });

  it('let a pod that is deleted serve until its hook is through, as a terminating endpoint', async () => {
    await work.createService('drained');
    // As long as it takes to see it so: a shorter grace ends it then.
    const lifecycle = { preStop: { sleep: { seconds: 600 } } };
    await work.createPod('drained', vllm({ lifecycle }), { terminationGracePeriodSeconds: 900 });
    await eventually('the pod is ready', () => work.ready('drained'));
    const address = (await work.pod('drained')).status?.podIP ?? '';
    await work.core.deleteNamespacedPod({ name: 'drained', namespace: work.namespace });
    const endpoint = await eventually('a terminating endpoint', async () =>
      (await work.endpoints('drained')).find(({ terminating }) => terminating),
    );
    assert.equal(endpoint.ready, false);
    assert.equal(endpoint.serving, true);
    assert.equal(await health(address), 200);
    await work.core.deleteNamespacedPod({
      name: 'drained',
      namespace: work.namespace,
      gracePeriodSeconds: 1,
    });
    await eventually('the pod is gone', () => work.gone('drained'));
    assert.equal(await health(address), 0);
    assert.ok(!addressesOfThisMachine().includes(address));
  });

  it('kill what ignores its end when the grace is over', async () => {
    const args = [MODEL, '--shutdown-timeout', '600', '--port', '8000'];
    const env = [{ name: 'SIMULATOR_SPEED', value: '1' }];
    await work.createPod('slow', vllm({ args, env }), { terminationGracePeriodSeconds: 2 });
    await eventually('the pod is ready', () => work.ready('slow'));
    const address = (await work.pod('slow')).status?.podIP;
    const body = {
      messages: [{ role: 'user', content: 'x' }],
      stream: true,
      ignore_eos: true,
      max_tokens: 100_000,
    };
    const request = { method: 'POST', body: JSON.stringify(body) };
    const answer = await fetch(`http://${address}:8000/v1/chat/completions`, request);
    await work.core.deleteNamespacedPod({ name: 'slow', namespace: work.namespace });
    await assert.rejects(answer.text());
    await eventually('the pod is gone', () => work.gone('slow'));
  });

  it('leave what does not fit to the scheduler', async () => {
    await work.createPod('holder', vllm({ resources: { limits: { 'nvidia.com/gpu': '4' } } }));
    await eventually('the first is ready', () => work.ready('holder'));
    await work.createPod('waiting', vllm());
    const scheduled = await eventually('a refusal', async () =>
      (await work.pod('waiting')).status?.conditions?.find(({ reason }) => reason === 'Unschedulable'),
    );
    assert.match(scheduled.message ?? '', /Insufficient nvidia\.com\/gpu/);
    await work.core.deleteNamespacedPod({ name: 'holder', namespace: work.namespace });
    await eventually('the second is ready', () => work.ready('waiting'));
  });

  it('ride out a restart of the API server without restarting a container or forgetting a deletion', async () => {
    const apiServer = kubernetes.control?.apiServer;
    assert.ok(apiServer);
    await work.createPod('steady', vllm());
    await work.createPod('ending', vllm({ lifecycle: { preStop: { sleep: { seconds: 1 } } } }));
    for (const name of ['steady', 'ending']) await eventually(`${name} is ready`, () => work.ready(name));
    const started = await work.container('steady');
    const [steady, ending] = await Promise.all(
      ['steady', 'ending'].map(async (name) => (await work.pod(name)).status?.podIP),
    );
    await work.core.deleteNamespacedPod({ name: 'ending', namespace: work.namespace });
    await eventually('the deletion is heard of', async () =>
      (await work.events('ending')).includes('Killing: Stopping container vllm'),
    );
    await apiServer.kill();
    await eventually('the deleted pod ends', async () => (await health(ending)) === 0);
    assert.equal(await health(steady), 200);
    await apiServer.start();
    await eventually('the deleted pod is gone', () => work.gone('ending'));
    await work.createPod('later', vllm());
    await eventually('a pod made later is ready', () => work.ready('later'));
    const now = await work.container('steady');
    assert.equal(now?.containerID, started?.containerID);
    assert.equal(now?.restartCount, 0);
    for (const name of ['steady', 'later']) {
      await work.core.deleteNamespacedPod({ name, namespace: work.namespace });
      await eventually(`${name} is gone`, () => work.gone(name));
    }
  });

  it('leave nothing behind at their end', async () => {
    await work.createPod('last', vllm());
    await eventually('the pod is ready', () => work.ready('last'));
    const address = (await work.pod('last')).status?.podIP ?? '';
    await nodes.stop();
    assert.deepEqual(
      addressesOfThisMachine().filter((each) => each === address),
      [],
    );
    assert.deepEqual((await work.core.listNode()).items, []);
    assert.ok(existsSync(join(folder.path, 'nodes')));
  });
});
