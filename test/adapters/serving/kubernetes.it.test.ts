import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createKubernetesClient, type KubernetesClient } from '../../../adapters/kubernetes/client.ts';
import { type AnyObject, type Deployment, hasEnded, type Pod } from '../../../adapters/kubernetes/objects.ts';
import { resources } from '../../../adapters/kubernetes/resources.ts';
import { labels, selectorOf } from '../../../domain/kubernetes/objects.ts';
import { defaultClusterSettings } from '../../../domain/kubernetes/settings.ts';
import { servingName, type WantedServing } from '../../../domain/serving/serving.ts';
import { whyNoNodes } from '../../../simulator/nodes/addresses.ts';
import { exampleServing, until } from '../../support/servings.ts';
import { type Bench, followed, startBench } from './kubernetes-support.ts';

const autoscalers = {
  apiVersion: 'autoscaling/v2',
  kind: 'HorizontalPodAutoscaler',
  plural: 'horizontalpodautoscalers',
};
const scaledObjects = { apiVersion: 'keda.sh/v1alpha1', kind: 'ScaledObject', plural: 'scaledobjects' };
const definitions = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  plural: 'customresourcedefinitions',
};
const policies = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', plural: 'networkpolicies' };
const services = { apiVersion: 'v1', kind: 'Service', plural: 'services' };

describe('servings on Kubernetes', { skip: (await whyNoNodes()) ?? false }, () => {
  let bench: Bench;
  let admin: KubernetesClient;
  before(async () => {
    bench = await startBench([{ name: 'gpu-1', gpuProduct: 'A100-80GB', gpus: 8 }]);
    admin = createKubernetesClient(bench.kubernetes.admin);
  });
  after(() => bench?.stop());

  const placeOf = (serving: WantedServing, namespace: string) => ({
    namespace,
    name: servingName(serving.digest),
  });
  const deploymentOf = (serving: WantedServing, namespace: string) =>
    admin.get<Deployment>(resources.deployments, placeOf(serving, namespace));

  test('one becomes ready, answers at its endpoints, and leaves nothing when it is removed', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(2);
    assert.equal((await adapter.observe(serving.digest)).state, 'absent');
    await adapter.apply(serving);
    const ready = await followed(adapter, serving.digest, 'ready');
    assert.equal(ready.endpoints.length, 2);
    for (const endpoint of ready.endpoints) assert.equal((await fetch(`${endpoint}/health`)).status, 200);
    assert.deepEqual([ready.ready, ready.wanted, ready.gpus], [2, 2, 2]);
    assert.ok(Math.abs(Date.now() - (ready.since ?? 0)) < 120_000);
    // A look at one serving does not read those of its objects that may be a second older.
    const [listed, ...others] = await adapter.list();
    assert.deepEqual({ ...listed, since: ready.since }, ready);
    assert.deepEqual(others, []);
    assert.ok((listed?.since ?? 0) <= (ready.since ?? 0));
    await adapter.remove(serving.digest);
    await followed(adapter, serving.digest, 'absent');
    await adapter.remove(serving.digest);
    assert.deepEqual(await adapter.list(), []);
  });

  test('everything is as it should be before: the checks say what they found, and change nothing', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const items = await adapter.check(exampleServing(2), 2);
    assert.deepEqual(
      items.map(({ item, passed, message }) => `${passed} ${item}: ${message.replaceAll(/\d+/g, 'N')}`),
      [
        'true Kubernetes permissions: all N that are needed',
        'true GPUs of the cluster: wanted N × N AN-NGB, free are N with room for N replicas (gpu-N N of N)',
        'true quota of the namespace: there is none',
        'true secrets, volume and classes: none is named',
        'true objects taken by the API server: N objects',
      ],
    );
    assert.deepEqual(await adapter.list(), []);
  });

  test('it has the replicas that it is to have, one after the other, without a restart of the others', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(1);
    await adapter.apply(serving);
    const [first] = (await followed(adapter, serving.digest, 'ready')).endpoints;
    await adapter.apply({ ...serving, replicas: 3 });
    assert.equal((await adapter.observe(serving.digest)).wanted, 3);
    const grown = await followed(adapter, serving.digest, 'ready');
    assert.equal(grown.endpoints.length, 3);
    assert.ok(grown.endpoints.includes(first ?? ''));
    await adapter.apply({ ...serving, replicas: 1 });
    const shrunk = await until(
      'one left',
      () => adapter.observe(serving.digest),
      ({ gpus }) => gpus === 1,
    );
    assert.deepEqual([shrunk.state, shrunk.ready, shrunk.wanted], ['ready', 1, 1]);
  });

  test('an autoscaler keeps its number through every apply, and gives it back', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const own = exampleServing(2);
    const shared: WantedServing = { ...own, scaling: { ...own.scaling, by: 'autoscaler' } };
    const replicas = async () => (await deploymentOf(own, namespace))?.spec.replicas;
    await adapter.apply(own);
    await adapter.apply(shared);
    assert.equal(await replicas(), 2, 'letting go of the number must not bring the default');
    assert.ok(await admin.get(autoscalers, placeOf(own, namespace)));
    // As an autoscaler does.
    const scaled = { spec: { replicas: 3 }, apiVersion: 'apps/v1', kind: 'Deployment' };
    await admin.apply(resources.deployments, placeOf(own, namespace), scaled, { fieldManager: 'autoscaler' });
    await adapter.apply(shared);
    await adapter.apply(shared);
    assert.equal(await replicas(), 3);
    assert.equal((await adapter.observe(own.digest)).wanted, 3);
    await adapter.apply(own);
    assert.equal(await replicas(), 2);
    assert.equal(await admin.get(autoscalers, placeOf(own, namespace)), null);
  });

  test('a Deployment that somebody deletes alone comes back by the next apply, when its pods have gone', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(1);
    await adapter.apply(serving);
    await followed(adapter, serving.digest, 'ready');
    await admin.remove(resources.deployments, placeOf(serving, namespace));
    const seen = await followed(adapter, serving.digest, 'stopping');
    assert.equal(seen.name, servingName(serving.digest));
    await until(
      'it is back',
      async () => {
        const one = await adapter.observe(serving.digest);
        if (one.state === 'stopping') await adapter.apply(serving);
        return one;
      },
      ({ state }) => state === 'ready',
    );
  });

  test('pods that nothing controls any more are listed by their GPUs and removed', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(2);
    await adapter.apply(serving);
    await followed(adapter, serving.digest, 'ready');
    // By all its objects, of which the first may be a second older than the Deployment.
    const [whole] = await adapter.list();
    assert.ok(whole?.since);
    // As `kubectl delete --cascade=orphan` does: the ReplicaSet goes on.
    const { AppsV1Api } = await import('@kubernetes/client-node');
    await bench.kubernetes.admin.makeApiClient(AppsV1Api).deleteNamespacedDeployment({
      ...placeOf(serving, namespace),
      propagationPolicy: 'Orphan',
    });
    await followed(adapter, serving.digest, 'stopping');
    const [orphan] = await adapter.list();
    assert.deepEqual(
      [orphan?.digest, orphan?.state, orphan?.gpus, orphan?.since],
      [serving.digest, 'stopping', 2, whole.since],
    );
    await adapter.remove(serving.digest);
    await followed(adapter, serving.digest, 'absent');
  });

  test('a lone object is a serving that is left over', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(1);
    await adapter.apply(serving);
    await followed(adapter, serving.digest, 'ready');
    const service = await admin.get<AnyObject>(services, placeOf(serving, namespace));
    await adapter.remove(serving.digest);
    await followed(adapter, serving.digest, 'absent');
    const { labels: own = {}, annotations = {} } = service?.metadata ?? {};
    const { name } = placeOf(serving, namespace);
    const lone = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, labels: own, annotations },
      spec: { ports: [{ port: 80 }] },
    };
    await admin.create(services, namespace, lone);
    const [left] = await adapter.list();
    assert.deepEqual(
      [left?.digest, left?.state, left?.gpus, left?.message],
      [serving.digest, 'stopping', 0, '1 object of it left, without a Deployment'],
    );
    await adapter.remove(serving.digest);
    assert.equal((await adapter.observe(serving.digest)).state, 'absent');
  });

  test('what is not ours stays, whatever it is called', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(1);
    const { name } = placeOf(serving, namespace);
    const foreign = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name, namespace, labels: { [labels.serving]: name.slice(-12) } },
      spec: { ports: [{ port: 80 }] },
    };
    await admin.create(services, namespace, foreign);
    await adapter.remove(serving.digest);
    assert.equal((await adapter.observe(serving.digest)).state, 'absent');
    assert.deepEqual(await adapter.list(), []);
    assert.ok(await admin.get(services, placeOf(serving, namespace)));
  });

  test('the network policy guards the pods until the last of them has gone', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace, { drain: 2_000 });
    const serving = exampleServing(1);
    await adapter.apply(serving);
    await followed(adapter, serving.digest, 'ready');
    await adapter.remove(serving.digest);
    let guarded = 0;
    for (;;) {
      const [policy, pods] = [
        await admin.list(policies, { namespace, labelSelector: selectorOf(serving.digest) }),
        await admin.list<Pod>(resources.pods, { namespace, labelSelector: selectorOf(serving.digest) }),
      ];
      if (pods.items.length === 0) break;
      // Listed before the pods: while one of those has not ended, the policy was there. An ended one needs no guard.
      if (!pods.items.every(hasEnded)) {
        assert.equal(policy.items.length, 1);
        guarded += 1;
      }
      await adapter.remove(serving.digest);
    }
    assert.ok(guarded > 0);
    await followed(adapter, serving.digest, 'absent');
  });

  test('a namespace that does not exist is told', async () => {
    const adapter = await bench.adapter('nowhere', {}, bench.kubernetes.admin);
    await assert.rejects(adapter.apply(exampleServing(1)), {
      code: 'SERVING_FAILED',
      message: /namespaces "nowhere" not found/,
    });
    const failed = (await adapter.check(exampleServing(1), 1)).filter(({ passed }) => !passed);
    assert.match(failed[0]?.remedy ?? '', /^Create the namespace/);
  });

  test("KEDA's object takes the autoscaler's place as soon as its API exists, and goes with the serving", async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const { autoscaling } = defaultClusterSettings;
    const adapter = await bench.adapter(namespace, {
      autoscaling: { ...autoscaling, prometheusUrl: 'http://prometheus:9090' },
    });
    const own = exampleServing(1);
    const shared: WantedServing = { ...own, scaling: { ...own.scaling, by: 'autoscaler' } };
    await adapter.apply(shared);
    assert.ok(await admin.get(autoscalers, placeOf(own, namespace)));
    const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } };
    await admin.create(definitions, undefined, {
      apiVersion: definitions.apiVersion,
      kind: definitions.kind,
      metadata: { name: 'scaledobjects.keda.sh' },
      spec: {
        group: 'keda.sh',
        scope: 'Namespaced',
        names: { kind: 'ScaledObject', plural: 'scaledobjects', singular: 'scaledobject' },
        versions: [{ name: 'v1alpha1', served: true, storage: true, schema }],
      },
    });
    await until(
      'the API',
      () => admin.knows(scaledObjects),
      (known) => known,
    );
    await adapter.apply(shared);
    assert.ok(await admin.get(scaledObjects, placeOf(own, namespace)));
    assert.equal(await admin.get(autoscalers, placeOf(own, namespace)), null);
    // As KEDA does: with its own object's labels, controlled by it.
    const scaled = await admin.get<AnyObject>(scaledObjects, placeOf(own, namespace));
    const { uid = '', labels: its = {} } = scaled?.metadata ?? {};
    const owner = {
      apiVersion: 'keda.sh/v1alpha1',
      kind: 'ScaledObject',
      name: servingName(own.digest),
      uid,
    };
    const made = { namespace, name: 'keda-hpa' };
    await admin.create(autoscalers, namespace, {
      apiVersion: autoscalers.apiVersion,
      kind: autoscalers.kind,
      metadata: { ...made, labels: its, ownerReferences: [{ ...owner, controller: true }] },
      spec: {
        scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name: servingName(own.digest) },
        maxReplicas: 2,
      },
    });
    await adapter.apply(shared);
    assert.ok(await admin.get(autoscalers, made), 'what another object controls is left alone');
    await adapter.remove(own.digest);
    await followed(adapter, own.digest, 'absent');
    assert.equal(await admin.get(scaledObjects, placeOf(own, namespace)), null);
  });
});
