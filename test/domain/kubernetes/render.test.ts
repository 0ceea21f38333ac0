import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { mostReplicas } from '../../../domain/kubernetes/autoscaling.ts';
import { type KubernetesObject, kindsOfServing } from '../../../domain/kubernetes/objects.ts';
import { podTemplate } from '../../../domain/kubernetes/pod.ts';
import { renderServing } from '../../../domain/kubernetes/render.ts';
import { type ClusterSettings, parseClusterSettings } from '../../../domain/kubernetes/settings.ts';
import { manifestYaml } from '../../../domain/kubernetes/yaml.ts';
import { imageDigest, renderings, type Wish, wanted, withImage } from './cases.ts';

const settings = parseClusterSettings(withImage);
const templateOf = (wish: Wish): string => JSON.stringify(podTemplate(wanted(wish), settings));

const autoscaled: Wish = { scaling: { by: 'autoscaler' } };

function render(wish: Wish, over: Partial<ClusterSettings> = {}, keda = false): KubernetesObject[] {
  return renderServing(wanted(wish), { ...settings, ...over }, { keda });
}

/** What stands at the path of the one object of that kind. */
function at(objects: KubernetesObject[], kind: string, path: string): unknown {
  const found = objects.filter((object) => object.kind === kind);
  assert.equal(found.length, 1, `one ${kind}`);
  return path.split('.').reduce<unknown>((value, part) => (value as Record<string, unknown>)[part], found[0]);
}

const container = 'spec.template.spec.containers.0';

test('the same input gives the same bytes, in whatever order its members were written', () => {
  const flags = fc.dictionary(
    fc.stringMatching(/^[a-z]{1,6}$/),
    fc.oneof(fc.string(), fc.integer(), fc.boolean()),
  );
  const labels = fc.dictionary(fc.stringMatching(/^[a-z]{1,6}$/), fc.stringMatching(/^[a-z]{0,6}$/));
  fc.assert(
    fc.property(flags, labels, fc.integer({ min: 0, max: 5 }), (given, nodes, replicas) => {
      const bytes = (reverse: boolean): string => {
        const ordered = <T>(record: Record<string, T>): Record<string, T> =>
          Object.fromEntries(reverse ? Object.entries(record).reverse() : Object.entries(record));
        const gpu = { resource: 'nvidia.com/gpu', nodeSelector: ordered(nodes), tolerations: [] };
        const runtime = { flags: ordered(given) };
        return manifestYaml(render({ runtime, replicas }, { gpus: { 'A100-80GB': gpu } }));
      };
      assert.equal(bytes(false), bytes(true));
    }),
    { numRuns: 50 },
  );
});

test('servings that differ in what the process sees have different pods', () => {
  const gpu = { kind: 'A100-80GB', memoryGiB: 80, count: 1 };
  const different: Wish[] = [
    {},
    { model: { name: 'another/model' } },
    { runtime: { flags: { 'max-model-len': 4096 } } },
    { runtime: { flags: { 'max-model-len': 8192, 'enable-prefix-caching': true } } },
    { runtime: { flags: { 'max-model-len': 8192, 'enable-prefix-caching': false } } },
    { runtime: { gpu: { ...gpu, count: 2 } } },
    { runtime: { gpu: { ...gpu, kind: 'H100-80GB' } } },
    { runtime: { image: `vllm/vllm-openai@sha256:${'9'.repeat(64)}` } },
    { dedicatedTo: 'support-answers-k3v9x2m7qa' },
  ];
  assert.equal(new Set(different.map(templateOf)).size, different.length);
});

test('what the process does not see leaves the pods as they are: nothing restarts', () => {
  const same: Wish[] = [
    { replicas: 7 },
    { scaling: { by: 'autoscaler', maxReplicas: 3 } },
    { origin: { application: 'a', release: 'r', revision: imageDigest } },
    { model: { price: { inputPerMillion: 7, outputPerMillion: 7 } } },
  ];
  for (const wish of same) assert.equal(templateOf(wish), templateOf({}));
});

test('objects come in the order of kindsOfServing, with its versions, one name and one namespace', () => {
  for (const [name, { serving, settings, keda }] of Object.entries(renderings)) {
    const objects = renderServing(serving, settings, { keda });
    const known = kindsOfServing.map(({ apiVersion, kind }) => `${apiVersion} ${kind}`);
    const positions = objects.map(({ apiVersion, kind }) => known.indexOf(`${apiVersion} ${kind}`));
    assert.ok(!positions.includes(-1), `${name}: a kind that nobody would remove`);
    assert.deepEqual(positions, [...new Set(positions)].sort(), name);
    assert.equal(new Set(objects.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)).size, 1);
  }
});

test('arguments reach vLLM as they are: Kubernetes reads $(NAME) as a variable', () => {
  const config = '{"a":"$(HF_TOKEN) $$ $"}';
  const args = at(render({ runtime: { flags: { config } } }), 'Deployment', `${container}.args`) as string[];
  assert.equal(args.at(-1), '{"a":"$$(HF_TOKEN) $$$$ $$"}');
});

test('requests and limits are the same, with as many GPUs as the runtime has', () => {
  const gpu = { kind: 'A100-80GB', memoryGiB: 80, count: 4 };
  const { requests, limits } = at(render({ runtime: { gpu } }), 'Deployment', `${container}.resources`) as {
    requests: unknown;
    limits: unknown;
  };
  assert.deepEqual(limits, { cpu: '16', memory: '64Gi', 'nvidia.com/gpu': '4' });
  assert.deepEqual(requests, limits);
});

test('the startup probe covers the time a start may take, default settings more than 180 s', () => {
  for (const startup of [settings.startup, 1, 999, 1_000, 7_000, 3_600_000]) {
    const probe = at(render({}, { startup }), 'Deployment', `${container}.startupProbe`) as {
      periodSeconds: number;
      failureThreshold: number;
    };
    const covered = probe.periodSeconds * probe.failureThreshold * 1000;
    assert.ok(covered >= startup && covered <= startup + 2_000, `${startup} ms: ${covered} ms`);
  }
  assert.ok(settings.startup >= 180_000);
});

test('a pod is killed only after its drain, what vLLM waits for, and some time to end', () => {
  const graceOf = (objects: KubernetesObject[]): unknown =>
    at(objects, 'Deployment', 'spec.template.spec.terminationGracePeriodSeconds');
  assert.equal(graceOf(render({}, { drain: 30_000 })), 45);
  assert.equal(graceOf(render({}, { drain: 1_500 })), 17);
  assert.equal(graceOf(render({ runtime: { flags: { 'shutdown-timeout': 20 } } }, { drain: 30_000 })), 65);
});

test('secrets are references', () => {
  const key = { name: 'vllm', key: 'api-key' };
  const env = at(render({}, { apiKey: key }), 'Deployment', `${container}.env`) as { name: string }[];
  assert.deepEqual(
    env.find(({ name }) => name === 'VLLM_API_KEY'),
    { name: 'VLLM_API_KEY', valueFrom: { secretKeyRef: key } },
  );
});

test('an autoscaler owns the number of replicas, and nobody else has one', () => {
  const own = render({ replicas: 3 });
  assert.equal(at(own, 'Deployment', 'spec.replicas'), 3);
  assert.deepEqual(autoscalersOf(own), []);
  for (const keda of [false, true]) {
    const owned = render({ ...autoscaled, replicas: 3 }, {}, keda);
    assert.ok(!('replicas' in (at(owned, 'Deployment', 'spec') as object)));
    assert.equal(at(owned, 'HorizontalPodAutoscaler', 'spec.minReplicas'), 3, 'KEDA without Prometheus');
  }
  const autoscaling = { ...settings.autoscaling, prometheusUrl: 'http://prometheus:9090' };
  const keda = render({ ...autoscaled, replicas: 3 }, { autoscaling }, true);
  assert.deepEqual(autoscalersOf(keda), ['ScaledObject']);
  assert.equal(at(keda, 'ScaledObject', 'spec.minReplicaCount'), 3);
  assert.deepEqual(autoscalersOf(render({ ...autoscaled, replicas: 0 }, { autoscaling }, true)), []);
});

const autoscalersOf = (objects: KubernetesObject[]): string[] =>
  objects.map(({ kind }) => kind).filter((kind) => /Autoscaler|Scaled/.test(kind));

test('the most replicas: what the policy and its cost allow, never fewer than the floor', () => {
  const gpu = { kind: 'A100-80GB', memoryGiB: 80, count: 2 };
  const most = (scaling: Wish['scaling'] & object, replicas = 1): number =>
    mostReplicas(wanted({ runtime: { gpu }, replicas, scaling }));
  assert.equal(most({ maxReplicas: 6 }), 6);
  assert.equal(most({ maxReplicas: 6, maxCostPerHour: 20, gpuHourPrice: 3 }), 3);
  assert.equal(most({ maxReplicas: 6, maxCostPerHour: 20, gpuHourPrice: 3 }, 5), 5);
  assert.equal(most({ maxReplicas: 6, maxCostPerHour: 20 }), 6);
});

test('a shrink waits no longer than the API lets it', () => {
  const window = (shrinkAfter: number): unknown =>
    at(
      render({ scaling: { by: 'autoscaler', shrinkAfter } }),
      'HorizontalPodAutoscaler',
      'spec.behavior.scaleDown.stabilizationWindowSeconds',
    );
  assert.equal(window(90_000), 90);
  assert.equal(window(7_200_000), 3600);
});

test('replicas change one by one on their own GPUs; the only one gets its successor first', () => {
  const update = (replicas: number): unknown =>
    at(render({ replicas }), 'Deployment', 'spec.strategy.rollingUpdate');
  assert.deepEqual(update(1), { maxSurge: 1, maxUnavailable: 0 });
  assert.deepEqual(update(2), { maxSurge: 0, maxUnavailable: 1 });
});

test('without clients nobody is let in: an empty list of sources would mean everybody', () => {
  assert.deepEqual(at(render({}, { clients: [] }), 'NetworkPolicy', 'spec.ingress'), []);
});

test('without an image or a place for its GPUs a runtime is refused, with what to do', () => {
  assert.throws(() => render({}, { image: null }), {
    code: 'INPUT_INVALID',
    details: {
      field: 'runtime.image',
      remedy:
        "Set image in the cluster's settings (SLIPWAY_CLUSTER_FILE), or runtime.image of the release, to repository/name@sha256: and 64 hex digits",
    },
  });
  for (const kind of ['B200-192GB', 'constructor']) {
    assert.throws(
      () => render({ runtime: { gpu: { kind, memoryGiB: 192, count: 1 } } }),
      (error: { details: { value: unknown; remedy: string } }) =>
        error.details.value === kind && error.details.remedy.includes(`gpus.${kind}`),
    );
  }
});

test('text that YAML 1.1 would read as another type is quoted', () => {
  const yaml = manifestYaml(render({}, { podAnnotations: { a: 'yes', b: '1:30', c: '010', d: 'null' } }));
  for (const line of ['a: "yes"', 'b: "1:30"', 'c: "010"', 'd: "null"']) assert.ok(yaml.includes(line), line);
});
