import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLocalServing } from '../../../adapters/serving/local/local.ts';
import { readEngine } from '../../../adapters/vllm/engine.ts';
import { checkCapacity } from '../../../domain/serving/capacity.ts';
import { exampleServing, inState, servingSandbox, until } from '../../support/servings.ts';

const simulator = fileURLToPath(new URL('../../../simulator/main.ts', import.meta.url));
const command = [process.execPath, simulator];

test('a program that speaks as vLLM does is served, says what it holds, and that agrees with the formula', async (t) => {
  const box = servingSandbox();
  t.after(box.cleanUp);
  process.env.SIMULATOR_SPEED = '100';
  t.after(() => delete process.env.SIMULATOR_SPEED);
  const adapter = createLocalServing({ stateDir: box.stateDir, command });
  const serving = exampleServing(1, {
    'gpu-memory-utilization': 0.9,
    'enable-prefix-caching': true,
    'enable-chunked-prefill': false,
    'max-num-seqs': 64,
  });
  await adapter.apply(serving);
  const seen = await until('ready', () => adapter.observe(serving.digest), inState('ready'));
  const [endpoint = ''] = seen.endpoints;
  const models = await (await fetch(`${endpoint}/v1/models`)).json();
  assert.equal((models as { data: { id: string }[] }).data[0]?.id, serving.model.name);
  const engine = await readEngine(endpoint);
  assert.equal(engine?.inFlight, 0);
  assert.equal(engine?.memoryUtilization, 0.9);
  const { capacity } = checkCapacity(serving.model, serving.runtime);
  const told = engine?.cacheConcurrency ?? 0;
  assert.ok(
    Math.abs(told / capacity.concurrency - 1) < 0.15,
    `${told} told, ${capacity.concurrency} computed`,
  );
  await adapter.remove(serving.digest);
  assert.equal((await adapter.observe(serving.digest)).state, 'absent');
});

test('a flag that vLLM does not know fails with a remedy', async (t) => {
  const box = servingSandbox();
  t.after(box.cleanUp);
  const adapter = createLocalServing({ stateDir: box.stateDir, command });
  const serving = exampleServing(1, { bogus: 1 });
  await adapter.apply(serving);
  const seen = await until('failed', () => adapter.observe(serving.digest), inState('failed'));
  assert.match(seen.message, /unrecognized arguments: --bogus/);
  assert.match(seen.remedy ?? '', /runtime\.flags/);
});
