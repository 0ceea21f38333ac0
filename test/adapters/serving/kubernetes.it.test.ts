import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { whyNoNodes } from '../../../simulator/nodes/addresses.ts';
import { exampleServing } from '../../support/servings.ts';
import { type Bench, followed, startBench } from './kubernetes-support.ts';

describe('servings on Kubernetes', { skip: (await whyNoNodes()) ?? false }, () => {
  let bench: Bench;
  before(async () => {
    bench = await startBench([{ name: 'gpu-1', gpuProduct: 'A100-80GB', gpus: 4 }]);
  });
  after(() => bench?.stop());

  test('a serving becomes ready, answers at its endpoints, and leaves nothing when it is removed', async () => {
    const namespace = await bench.kubernetes.createNamespace();
    const adapter = await bench.adapter(namespace);
    const serving = exampleServing(2);
    assert.equal((await adapter.observe(serving.digest)).state, 'absent');
    await adapter.apply(serving);
    const ready = await followed(adapter, serving.digest, 'ready');
    console.log(ready);
    for (const endpoint of ready.endpoints) assert.equal((await fetch(`${endpoint}/health`)).status, 200);
    assert.deepEqual(
      { ready: ready.ready, wanted: ready.wanted, gpus: ready.gpus },
      { ready: 2, wanted: 2, gpus: 2 },
    );
    assert.deepEqual(await adapter.list(), [ready]);
    console.log(await adapter.check(exampleServing(2, { seed: 1 }), 2));
    await adapter.remove(serving.digest);
    const left = await adapter.observe(serving.digest);
    console.log(left);
    await followed(adapter, serving.digest, 'absent');
    assert.deepEqual(await adapter.list(), []);
  });
});
