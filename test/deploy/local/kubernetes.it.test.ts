import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  AppsV1Api,
  CoreV1Api,
  DiscoveryV1Api,
  KubeConfig,
  RbacAuthorizationV1Api,
  type V1Pod,
  VersionApi,
} from '@kubernetes/client-node';
import {
  kubernetesPrograms,
  type LocalKubernetes,
  startLocalKubernetes,
} from '../../../deploy/local/kubernetes/control-plane.ts';
import { freePort } from '../../../deploy/local/ports.ts';
import { waitUntil } from '../../../deploy/local/probe.ts';
import { Supervisor } from '../../../deploy/local/processes.ts';
import { SlipwayError } from '../../../domain/errors.ts';
import { startKubernetes, type TestKubernetes } from '../../support/kubernetes.ts';
import { PATIENCE_MS } from '../../support/patience.ts';
import { SHARED_KUBECONFIG, temporaryFolder } from '../../support/stack.ts';

const folder = temporaryFolder();
after(folder.remove);

let kubernetes: TestKubernetes;
let control: LocalKubernetes;
let core: CoreV1Api;
let apps: AppsV1Api;
before(async () => {
  kubernetes = await startKubernetes({ own: true });
  assert.ok(kubernetes.control);
  control = kubernetes.control;
  core = kubernetes.admin.makeApiClient(CoreV1Api);
  apps = kubernetes.admin.makeApiClient(AppsV1Api);
});
after(() => kubernetes?.stop());

const WITHIN = { timeoutMs: PATIENCE_MS };

/** A Deployment of pods that ask for GPUs. */
async function deploy(namespace: string, name: string, replicas: number, gpus = '1'): Promise<void> {
  const labels = { app: name };
  const container = {
    name: 'server',
    image: 'nowhere/server',
    resources: { limits: { 'nvidia.com/gpu': gpus } },
  };
  const spec = {
    replicas,
    selector: { matchLabels: labels },
    template: { metadata: { labels }, spec: { containers: [container] } },
  };
  await apps.createNamespacedDeployment({ namespace, body: { metadata: { name }, spec } });
}

const podsOf = async (namespace: string): Promise<V1Pod[]> =>
  (await core.listNamespacedPod({ namespace })).items;

/** A node as a kubelet would register it, with nobody behind it. */
async function addNode(name: string, gpus: string): Promise<void> {
  await core.createNode({ body: { metadata: { name } } });
  const resources = { cpu: '8', memory: '64Gi', pods: '20', 'nvidia.com/gpu': gpus };
  const now = new Date();
  const ready = {
    type: 'Ready',
    status: 'True',
    reason: 'Test',
    message: '',
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  };
  const status = { capacity: resources, allocatable: resources, conditions: [ready] };
  await core.replaceNodeStatus({ name, body: { metadata: { name }, status } });
}

test('an API server of the pinned release answers with controllers and a scheduler behind it', async () => {
  const { gitVersion, minor } = await kubernetes.admin.makeApiClient(VersionApi).getCode();
  assert.deepEqual([gitVersion, minor], ['v1.34.4', '34']);
  const namespace = await kubernetes.createNamespace();
  const selector = { app: 'answers' };
  await core.createNamespacedService({
    namespace,
    body: { metadata: { name: 'answers' }, spec: { selector, ports: [{ port: 8000 }] } },
  });
  await deploy(namespace, 'answers', 2);
  const [judged] = await waitUntil(
    'the scheduler has judged both pods',
    async () => {
      const conditions = (await podsOf(namespace)).flatMap(({ status }) => status?.conditions ?? []);
      const unschedulable = conditions.filter(({ reason }) => reason === 'Unschedulable');
      return unschedulable.length === 2 ? unschedulable : undefined;
    },
    WITHIN,
  );
  assert.match(judged?.message ?? '', /no nodes available/);
  await waitUntil(
    'the Service has its EndpointSlice',
    async () => {
      const labelSelector = 'kubernetes.io/service-name=answers';
      const discovery = kubernetes.admin.makeApiClient(DiscoveryV1Api);
      return (await discovery.listNamespacedEndpointSlice({ namespace, labelSelector })).items.length === 1;
    },
    WITHIN,
  );
  await apps.deleteNamespacedDeployment({ namespace, name: 'answers' });
  await waitUntil('its pods are collected', async () => (await podsOf(namespace)).length === 0, WITHIN);
});

test('pods beyond a quota are refused', async () => {
  const namespace = await kubernetes.createNamespace();
  const hard = { 'requests.nvidia.com/gpu': '1' };
  await core.createNamespacedResourceQuota({
    namespace,
    body: { metadata: { name: 'gpus' }, spec: { hard } },
  });
  await waitUntil(
    'the quota is in force',
    async () => (await core.readNamespacedResourceQuota({ namespace, name: 'gpus' })).status?.hard,
    WITHIN,
  );
  await deploy(namespace, 'greedy', 1, '2');
  const message = await waitUntil(
    'the refusal is said',
    async () => {
      const { status } = await apps.readNamespacedDeployment({ namespace, name: 'greedy' });
      return status?.conditions?.find(({ type }) => type === 'ReplicaFailure')?.message;
    },
    WITHIN,
  );
  assert.match(message, /exceeded quota: gpus, requested: requests\.nvidia\.com\/gpu=2/);
});

const listPods = async (config: KubeConfig, namespace: string): Promise<number> => {
  try {
    await config.makeApiClient(CoreV1Api).listNamespacedPod({ namespace });
    return 200;
  } catch (error) {
    return (error as { code: number }).code;
  }
};

test('users, groups and ServiceAccounts may do what they are bound to, and nothing else', async () => {
  const namespace = await kubernetes.createNamespace();
  const other = await kubernetes.createNamespace();
  const rbac = kubernetes.admin.makeApiClient(RbacAuthorizationV1Api);
  const name = 'reads-pods';
  const rules = [{ apiGroups: [''], resources: ['pods'], verbs: ['list'] }];
  await rbac.createNamespacedRole({ namespace, body: { metadata: { name }, rules } });
  await core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'worker' } } });
  const callers = [
    kubernetes.asUser('ada'),
    kubernetes.asUser('grace', 'operators'),
    await kubernetes.asServiceAccount(namespace, 'worker'),
  ];
  const statuses = (where: string): Promise<number[]> =>
    Promise.all(callers.map((caller) => listPods(caller, where)));
  assert.deepEqual(await statuses(namespace), [403, 403, 403]);
  const apiGroup = 'rbac.authorization.k8s.io';
  const subjects = [
    { kind: 'User', name: 'ada', apiGroup },
    { kind: 'Group', name: 'operators', apiGroup },
    { kind: 'ServiceAccount', name: 'worker', namespace },
  ];
  const roleRef = { kind: 'Role', name, apiGroup };
  await rbac.createNamespacedRoleBinding({ namespace, body: { metadata: { name }, subjects, roleRef } });
  await waitUntil(
    'the binding is seen',
    async () => (await statuses(namespace)).every((s) => s === 200),
    WITHIN,
  );
  assert.deepEqual(await statuses(other), [403, 403, 403]);
  const stranger = kubernetes.asUser('mallory', 'visitors');
  assert.equal(await listPods(stranger, namespace), 403);
});

test('a namespace goes with pods that wait for a node that is gone', async () => {
  const namespace = await kubernetes.createNamespace();
  await addNode('leaving', '1');
  await deploy(namespace, 'left', 1);
  const bound = async () => (await podsOf(namespace)).some(({ spec }) => spec?.nodeName === 'leaving');
  await waitUntil('the pod is bound', bound, WITHIN);
  await core.deleteNode({ name: 'leaving' });
  await kubernetes.removeNamespace(namespace);
  await assert.rejects(core.readNamespace({ name: namespace }), { code: 404 });
});

test('tests that share a control plane keep apart by namespaces, and leave none', async () => {
  const before = process.env[SHARED_KUBECONFIG];
  process.env[SHARED_KUBECONFIG] = kubernetes.kubeconfig;
  try {
    const [one, other] = await Promise.all([startKubernetes(), startKubernetes()]);
    assert.deepEqual([one.url, one.control], [kubernetes.url, undefined]);
    const [mine, theirs] = await Promise.all([one.createNamespace({ team: 'a' }), other.createNamespace()]);
    const { metadata } = await core.readNamespace({ name: mine });
    assert.equal(metadata?.labels?.team, 'a');
    const fromFile = new KubeConfig();
    fromFile.loadFromFile(one.kubeconfigFile(await one.asServiceAccount(mine, 'default')));
    assert.equal(await listPods(fromFile, mine), 403, 'known, and allowed nothing');
    await one.stop();
    const namespaces = async () => (await core.listNamespace()).items.map(({ metadata }) => metadata?.name);
    await waitUntil('its namespace is gone', async () => !(await namespaces()).includes(mine), WITHIN);
    assert.equal((await core.readNamespace({ name: theirs })).status?.phase, 'Active');
    await other.stop();
  } finally {
    if (before === undefined) delete process.env[SHARED_KUBECONFIG];
    else process.env[SHARED_KUBECONFIG] = before;
  }
});

test('the API server may be killed or restarted: everybody goes on with what they knew', async () => {
  const namespace = await kubernetes.createNamespace();
  await deploy(namespace, 'survivor', 1);
  await waitUntil('it has a pod', async () => (await podsOf(namespace)).length === 1, WITHIN);
  const worker = await kubernetes.asServiceAccount(namespace, 'default');

  await control.apiServer.kill('SIGKILL');
  await assert.rejects(core.listNamespace());
  await control.apiServer.start();
  assert.equal((await podsOf(namespace)).length, 1);
  assert.equal(await listPods(worker, namespace), 403, 'the old token is known');

  await control.apiServer.restart();
  const scale = { metadata: { name: 'survivor', namespace }, spec: { replicas: 3 } };
  await apps.replaceNamespacedDeploymentScale({ namespace, name: 'survivor', body: scale });
  await addNode('late', '3');
  await waitUntil(
    'the controllers and the scheduler work on',
    async () => (await podsOf(namespace)).filter(({ spec }) => spec?.nodeName === 'late').length === 3,
    WITHIN,
  );
  await core.deleteNode({ name: 'late' });
});

/** True until the process is gone; one that nobody has waited for yet (a zombie) is gone. */
function lives(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Starts a control plane on the state in a program of its own, and tells what a client and an observer need. */
async function inAProgram(state: string, port: number) {
  const local = fileURLToPath(new URL('../../../deploy/local/', import.meta.url));
  const text = `
    import { Supervisor } from ${JSON.stringify(join(local, 'processes.ts'))};
    import { kubernetesPrograms, startLocalKubernetes } from ${JSON.stringify(join(local, 'kubernetes/control-plane.ts'))};
    const supervisor = new Supervisor();
    supervisor.stopOnSignals();
    const programs = await kubernetesPrograms(() => undefined);
    const { kubeconfig, ...parts } = await startLocalKubernetes({ supervisor, programs, state: ${JSON.stringify(state)}, port: ${port} });
    const pids = [parts.etcd, parts.apiServer, parts.controllerManager, parts.scheduler].map(({ pid }) => pid);
    console.log(JSON.stringify({ kubeconfig, pids }));
    setInterval(() => undefined, 1000);
  `;
  const program = spawn(process.execPath, ['--input-type=module-typescript', '-e', text], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(createInterface({ input: program.stdout }), 'line');
  const told = JSON.parse(String(line)) as { kubeconfig: string; pids: number[] };
  assert.equal(told.pids.filter(lives).length, 4);
  return { program, ...told };
}

test('no part outlives its program, and the next start finds what was stored', async () => {
  const state = join(folder.path, 'durable');
  const port = await freePort();
  const first = await inAProgram(state, port);
  const admin = new KubeConfig();
  admin.loadFromFile(first.kubeconfig);
  const client = admin.makeApiClient(CoreV1Api);
  await client.createNamespace({ body: { metadata: { name: 'kept' } } });
  first.program.kill('SIGKILL');
  await waitUntil('all are gone after a kill', () => !first.pids.some(lives), WITHIN);

  const second = await inAProgram(state, port);
  assert.equal((await client.readNamespace({ name: 'kept' })).metadata?.name, 'kept');
  second.program.kill('SIGTERM');
  await once(second.program, 'exit');
  assert.deepEqual(second.pids.filter(lives), []);
});

test('a part that does not start is an error that shows its log', async () => {
  const supervisor = new Supervisor();
  try {
    const programs = await kubernetesPrograms(() => undefined);
    const taken = Number(new URL(kubernetes.url).port);
    const state = join(folder.path, 'refused');
    const starting = startLocalKubernetes({ supervisor, programs, state, port: taken, volatile: true });
    await assert.rejects(starting, (error: unknown) => {
      assert.ok(error instanceof SlipwayError);
      assert.equal(error.code, 'DEPENDENCY_UNAVAILABLE');
      assert.match(error.message, /Kubernetes API server ended with exit code[\s\S]*address already in use/);
      assert.match(error.details.remedy ?? '', /kube-apiserver\.log/);
      return true;
    });
  } finally {
    await supervisor.stopAll();
  }
});

test('it stops as a whole before its supervisor does', async () => {
  const { etcd, apiServer, controllerManager, scheduler } = control;
  await control.stop();
  const running = [etcd, apiServer, controllerManager, scheduler].filter((part) => part.running);
  assert.deepEqual(running, []);
});
