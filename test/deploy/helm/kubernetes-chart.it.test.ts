import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import {
  CoreV1Api,
  type KubernetesObject,
  KubernetesObjectApi,
  PatchStrategy,
  type V1Deployment,
  type V1Role,
  type V1StatefulSet,
} from '@kubernetes/client-node';
import { parse } from 'yaml';
import { neededPermissions } from '../../../adapters/serving/kubernetes/permissions.ts';
import { clusterSettingsSchema, parseClusterSettings } from '../../../domain/kubernetes/settings.ts';
import { startKubernetes, type TestKubernetes } from '../../support/kubernetes.ts';
import { startPrometheus, type TestPrometheus } from '../../support/stack.ts';
import { image, renderChart } from './chart.ts';

let kubernetes: TestKubernetes;
let prometheus: TestPrometheus;
let objects: KubernetesObjectApi;
before(async () => {
  [kubernetes, prometheus] = await Promise.all([startKubernetes(), startPrometheus()]);
  objects = KubernetesObjectApi.makeApiClient(kubernetes.admin);
});
after(async () => {
  await Promise.all([kubernetes?.stop(), prometheus?.stop()]);
});

const VLLM = `vllm/vllm-openai@sha256:${'b'.repeat(64)}`;

const installations: Record<string, object> = {
  'the least that a cluster says': { image },
  everything: {
    image,
    imagePullSecrets: [{ name: 'pull' }],
    secretHas: { temporalApiKey: true, vllmApiKey: true, judgeKey: true, webhookSecret: true },
    temporal: { address: 'ours.tmprl.cloud:7233', tls: true, topology: 'namespace: { name: ours }\n' },
    judge: { url: 'http://judge/v1', model: 'judge' },
    cluster: { image: VLLM },
    worker: {
      builds: [
        { build: 'b2', digest: image.digest },
        { build: '2026-11.1', digest: `sha256:${'c'.repeat(64)}` },
      ],
    },
    extraEnv: [{ name: 'NODE_EXTRA_CA_CERTS', value: '/ca/ca.crt' }],
    extraVolumes: [{ name: 'ca', configMap: { name: 'ca' } }],
    extraVolumeMounts: [{ name: 'ca', mountPath: '/ca' }],
    evaluator: { criteria: 'Is it kind?' },
    podLabels: { team: 'llm' },
    nodeSelector: { 'kubernetes.io/arch': 'amd64' },
    tolerations: [{ key: 'infra', operator: 'Exists' }],
  },
};

for (const [name, values] of Object.entries(installations)) {
  test(`the API server takes the whole chart: ${name}`, async () => {
    const namespace = await kubernetes.createNamespace({
      'pod-security.kubernetes.io/enforce': 'restricted',
    });
    const rendered = await renderChart(values, namespace);
    assert.ok(rendered.length > 15);
    for (const object of rendered) {
      const scoped = object.kind?.startsWith('Cluster')
        ? object
        : { ...object, metadata: { namespace, ...object.metadata } };
      const taken = await objects
        .patch(scoped, undefined, 'All', 'chart-test', true, PatchStrategy.ServerSideApply, undefined)
        .catch((error: Error) => assert.fail(`${object.kind} ${object.metadata?.name}: ${error.message}`));
      assert.equal(taken.kind, object.kind);
    }
  });
}

/** The pods of everything that runs. */
const workloads = (rendered: KubernetesObject[]): (V1Deployment | V1StatefulSet)[] =>
  rendered.filter(({ kind }) => kind === 'Deployment' || kind === 'StatefulSet') as V1Deployment[];

test('every pod passes the restricted pod security standard', async () => {
  const namespace = await kubernetes.createNamespace({ 'pod-security.kubernetes.io/enforce': 'restricted' });
  const core = kubernetes.admin.makeApiClient(CoreV1Api);
  const rendered = await renderChart(installations.everything ?? {}, namespace);
  for (const { metadata, spec } of workloads(rendered)) {
    // A Deployment is taken whatever its pods are: the pods themselves are judged.
    const pod = {
      metadata: { name: metadata?.name ?? '' },
      spec: { ...spec?.template.spec, serviceAccountName: 'default' },
    };
    const volumes = [...(pod.spec.volumes ?? []), { name: 'state', emptyDir: {} }];
    const body = { ...pod, spec: { ...pod.spec, volumes, containers: pod.spec.containers ?? [] } };
    await core.createNamespacedPod({ namespace, body, dryRun: 'All', fieldValidation: 'Strict' });
  }
  assert.equal(workloads(rendered).length, 5);
});

test('each build of the worker has a Deployment of its own, and new releases begin on the first', async () => {
  const rendered = await renderChart(installations.everything ?? {});
  const workers = workloads(rendered).filter(({ metadata }) => metadata?.name?.startsWith('test-worker'));
  assert.deepEqual(
    workers.map(({ metadata, spec }) => [metadata?.name, spec?.template.spec?.containers[0]?.image]),
    [
      ['test-worker-b2', `${image.repository}@${image.digest}`],
      ['test-worker-2026-11-1', `${image.repository}@sha256:${'c'.repeat(64)}`],
    ],
  );
  const job = rendered.find(({ metadata }) => metadata?.name === 'test-setup-current-build');
  assert.match(JSON.stringify(job), /"args":\["cli\/main\.ts","temporal","set-current","b2"\]/);
});

test('the settings of the cluster reach the processes as they read them', async () => {
  const values = { image, cluster: { image: VLLM }, serving: { namespace: 'gpus' } };
  const rendered = await renderChart(values);
  const config = rendered.find(({ kind }) => kind === 'ConfigMap') as { data?: Record<string, string> };
  const settings = parseClusterSettings(config.data?.['cluster.yaml'] ?? '');
  assert.deepEqual([settings.namespace, settings.image], ['gpus', VLLM]);
  assert.deepEqual(settings.clients[0]?.namespaces, { 'kubernetes.io/metadata.name': 'slipway' });
});

test("the worker's roles hold what its adapter asks for, and nothing more", async () => {
  const rendered = await renderChart({ image });
  const granted = (kind: string): string[] => {
    const role = rendered.find(
      ({ kind: is, metadata }) => is === kind && metadata?.name?.endsWith('test-worker'),
    );
    const { rules = [] } = role as V1Role;
    return rules
      .flatMap(({ apiGroups = [], resources = [], verbs }) =>
        apiGroups.flatMap((group) =>
          resources.flatMap((name) => verbs.map((verb) => `${verb} ${group}/${name}`)),
        ),
      )
      .sort();
  };
  const asked = (clusterWide: boolean): string[] =>
    neededPermissions
      .filter((permission) => permission.clusterWide === clusterWide)
      .flatMap(({ group, resource, verbs }) => verbs.map((verb) => `${verb} ${group}/${resource}`))
      .sort();
  assert.deepEqual(granted('Role'), asked(false));
  assert.deepEqual(granted('ClusterRole'), asked(true));
});

test('an image that is not pinned by its digest is refused', async () => {
  await assert.rejects(renderChart({ image: { ...image, digest: 'latest' } }), /digest/);
  await assert.rejects(renderChart({ image: { ...image, repository: '' } }), /repository/);
});

test('values that nobody reads are refused', async () => {
  for (const [values, named] of [
    [{ ingress: {} }, /ingress/],
    [{ image: { ...image, tag: 'v1' } }, /tag/],
    [{ cluster: { gpu: {} } }, /gpu/],
  ] as const) {
    await assert.rejects(renderChart({ image, ...values }), named);
  }
});

test("the chart knows every setting of a cluster that Slipway's own schema has", async () => {
  const file = new URL('../../../deploy/helm/slipway/values.schema.json', import.meta.url);
  const { properties } = JSON.parse(await readFile(file, 'utf8'));
  assert.deepEqual(
    Object.keys(properties.cluster.properties).sort(),
    Object.keys(clusterSettingsSchema.shape).sort(),
  );
});

test('what is mounted and set besides reaches every container', async () => {
  const rendered = await renderChart(installations.everything ?? {});
  const pods = [...workloads(rendered), ...rendered.filter(({ kind }) => kind === 'Job')] as V1Deployment[];
  assert.equal(pods.length, 8);
  for (const { metadata, spec } of pods) {
    const [container] = spec?.template.spec?.containers ?? [];
    assert.ok(
      container?.env?.some(({ name }) => name === 'NODE_EXTRA_CA_CERTS'),
      metadata?.name,
    );
    assert.ok(
      container?.volumeMounts?.some(({ name }) => name === 'ca'),
      metadata?.name,
    );
    assert.ok(
      spec?.template.spec?.volumes?.some(({ name }) => name === 'ca'),
      metadata?.name,
    );
  }
});

test('Prometheus can read every alert', async () => {
  const file = new URL('../../../deploy/helm/slipway/files/rules.yaml', import.meta.url);
  const { groups } = parse(await readFile(file, 'utf8')) as {
    groups: { rules: { alert: string; expr: string }[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  assert.ok(rules.length > 0);
  for (const { alert, expr } of rules) {
    const answer = await fetch(`${prometheus.url}/api/v1/query?query=${encodeURIComponent(expr)}`);
    assert.equal(answer.status, 200, `${alert}: ${await answer.text()}`);
  }
});
