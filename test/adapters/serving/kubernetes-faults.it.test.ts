import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createKubernetesClient } from '../../../adapters/kubernetes/client.ts';
import type { AnyObject } from '../../../adapters/kubernetes/objects.ts';
import { resources } from '../../../adapters/kubernetes/resources.ts';
import { replicaSets } from '../../../adapters/serving/kubernetes/context.ts';
import type { KubernetesServing } from '../../../adapters/serving/kubernetes/kubernetes.ts';
import { SlipwayError } from '../../../domain/errors.ts';
import { kindsOfServing, servingsSelector } from '../../../domain/kubernetes/objects.ts';
import type { WantedServing } from '../../../domain/serving/serving.ts';
import { whyNoNodes } from '../../../simulator/nodes/addresses.ts';
import { PATIENCE_MS } from '../../support/patience.ts';
import { exampleServing } from '../../support/servings.ts';
import { type Bench, followed, startBench } from './kubernetes-support.ts';

const WORKER = join(import.meta.dirname, 'kubernetes-worker.ts');

describe('servings on Kubernetes when something dies', { skip: (await whyNoNodes()) ?? false }, () => {
  let bench: Bench;
  before(async () => {
    bench = await startBench([{ name: 'gpu-1', gpuProduct: 'A100-80GB', gpus: 8 }]);
  });
  after(() => bench?.stop());

  /** How many objects of each kind the namespace has with the servings' labels, seen by an administrator. */
  async function census(namespace: string): Promise<Record<string, number>> {
    const client = createKubernetesClient(bench.kubernetes.admin);
    const counts: Record<string, number> = {};
    for (const kind of [...kindsOfServing, replicaSets, resources.pods]) {
      const { items } = await client.list<AnyObject>(kind, { namespace, labelSelector: servingsSelector });
      if (items.length > 0) counts[kind.kind] = items.length;
    }
    return counts;
  }
  const whole = {
    ServiceAccount: 1,
    NetworkPolicy: 1,
    Service: 1,
    PodDisruptionBudget: 1,
    Deployment: 1,
    ReplicaSet: 1,
    Pod: 2,
  };

  /** As an activity that is tried again: an outage is ridden out, anything else fails. */
  async function persistently(work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof SlipwayError) || error.code !== 'DEPENDENCY_UNAVAILABLE') throw error;
        await delay(100);
      }
    }
  }
  const provided = (adapter: KubernetesServing, serving: WantedServing): Promise<void> =>
    persistently(async () => {
      const over = AbortSignal.timeout(PATIENCE_MS);
      for (;;) {
        const { state, message } = await adapter.observe(serving.digest);
        if (state === 'ready') return;
        if (over.aborted) throw new Error(`${state}: ${message}`);
        if (state === 'absent' || state === 'stopping') await adapter.apply(serving);
        await adapter.changed(serving.digest, over);
      }
    });
  const removed = (adapter: KubernetesServing, digest: string): Promise<void> =>
    persistently(async () => {
      await adapter.remove(digest);
      await followed(adapter, digest, 'absent');
    });

  test('the API server is killed while a serving is provided and removed, at several moments', async () => {
    const apiServer = bench.kubernetes.control?.apiServer;
    assert.ok(apiServer);
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(2);
    const struck = async (work: Promise<void>, afterMs: number): Promise<void> => {
      await delay(afterMs);
      await apiServer.kill();
      await delay(500);
      await apiServer.start();
      await work;
    };
    for (const afterMs of [20, 300]) {
      await struck(provided(adapter, serving), afterMs);
      assert.deepEqual(await census(namespace), whole);
      await struck(removed(adapter, serving.digest), afterMs);
      assert.deepEqual(await census(namespace), {});
    }
  });

  test('somebody who waits for a change gets it after the API server has come back', async () => {
    const apiServer = bench.kubernetes.control?.apiServer;
    assert.ok(apiServer);
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(1);
    await adapter.apply(serving);
    await followed(adapter, serving.digest, 'ready');
    await apiServer.kill();
    await adapter.changed(serving.digest, AbortSignal.timeout(200));
    await apiServer.start();
    await persistently(() => adapter.remove(serving.digest));
    await followed(adapter, serving.digest, 'absent');
  });

  test('a worker that is killed while it applies or removes leaves what the next one completes', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(2);
    const kubeconfig = bench.kubernetes.kubeconfigFile(await bench.restricted(namespace));
    const seen = { cut: 0, done: 0 };
    const killed = async (action: 'apply' | 'remove', afterMs: number): Promise<void> => {
      const child = spawn(process.execPath, [WORKER, kubeconfig, namespace, action], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let said = '';
      child.stdout.on('data', (chunk) => {
        said += chunk;
      });
      await once(child.stdout, 'data');
      await delay(afterMs);
      child.kill('SIGKILL');
      await once(child, 'close');
      seen[said.includes('done') ? 'done' : 'cut'] += 1;
    };
    for (const afterMs of [20, 40, 70, 110]) {
      await killed('apply', afterMs);
      await provided(adapter, serving);
      assert.deepEqual(await census(namespace), whole);
      await killed('remove', afterMs);
      await removed(adapter, serving.digest);
      assert.deepEqual(await census(namespace), {});
    }
    assert.ok(seen.cut > 1, `killed in the middle ${seen.cut} times`);
  });

  test('two workers that apply, and two that remove at once, make one serving and leave none', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const [one, other] = [await bench.adapter(namespace), await bench.adapter(namespace)];
    const serving = exampleServing(2);
    for (let round = 0; round < 2; round++) {
      await Promise.all([one, other, one].map((adapter) => provided(adapter, serving)));
      assert.deepEqual(await census(namespace), whole);
      await Promise.all([one, other, one].map((adapter) => removed(adapter, serving.digest)));
      assert.deepEqual(await census(namespace), {});
    }
  });

  test('one that removes while the other applies: what is asked last is so in the end', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const [one, other] = [await bench.adapter(namespace), await bench.adapter(namespace)];
    const serving = exampleServing(2);
    for (const afterMs of [0, 20]) {
      const applying = one.apply(serving);
      await delay(afterMs);
      await other.remove(serving.digest);
      await applying;
      await removed(other, serving.digest);
      assert.deepEqual(await census(namespace), {});
      await provided(one, serving);
      assert.deepEqual(await census(namespace), whole);
      const removing = other.remove(serving.digest);
      await delay(afterMs);
      await one.apply(serving);
      await removing;
      await provided(one, serving);
      assert.deepEqual(await census(namespace), whole);
      await removed(one, serving.digest);
    }
  });
});
