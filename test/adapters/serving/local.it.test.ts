import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createLocalServing, stopAll } from '../../../adapters/serving/local/local.ts';
import {
  readReplica,
  readReplicas,
  writeReplica,
  writeServing,
} from '../../../adapters/serving/local/records.ts';
import { freePort } from '../../../deploy/local/ports.ts';
import { SlipwayError } from '../../../domain/errors.ts';
import { type Serving, servingName } from '../../../domain/serving/serving.ts';
import { exampleServing, inState, servingSandbox, standIn, until } from '../../support/servings.ts';

const applier = fileURLToPath(new URL('../../support/apply-servings.ts', import.meta.url));

function sandbox(t: TestContext) {
  const box = servingSandbox();
  t.after(box.cleanUp);
  const adapter = createLocalServing({ stateDir: box.stateDir, command: standIn });
  const ready = (serving: Serving) => until('ready', () => adapter.observe(serving.digest), inState('ready'));
  const folderOf = (serving: Serving): string => join(box.stateDir, 'servings', servingName(serving.digest));
  return { ...box, adapter, ready, folderOf };
}

/** Another worker that applies the serving. */
function startApplier(stateDir: string, serving: Serving) {
  const child = spawn(
    process.execPath,
    [applier, stateDir, JSON.stringify(standIn), JSON.stringify(serving)],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  return { child, exited: once(child, 'exit'), applying: once(child.stdout, 'data') };
}

test('a serving is started with the command line of vLLM, becomes ready, and goes', async (t) => {
  const { adapter, ready, living, startOf } = sandbox(t);
  const serving = exampleServing(2, { 'enable-prefix-caching': true, 'enable-chunked-prefill': false });
  assert.equal((await adapter.observe(serving.digest)).state, 'absent');
  await adapter.apply(serving);
  const seen = await ready(serving);
  assert.deepEqual(
    { name: seen.name, ready: seen.ready, wanted: seen.wanted, message: seen.message },
    { name: servingName(serving.digest), ready: 2, wanted: 2, message: '2 of 2 replicas ready' },
  );
  for (const endpoint of seen.endpoints) assert.ok((await fetch(`${endpoint}/health`)).ok);
  const pids = living();
  assert.equal(pids.length, 2);
  const { argv, env } = startOf(pids[0] ?? 0);
  const port = argv[argv.indexOf('--port') + 1];
  assert.deepEqual(argv, [
    'serve',
    serving.model.name,
    '--served-model-name',
    serving.model.name,
    '--host',
    '127.0.0.1',
    '--port',
    port,
    '--no-enable-chunked-prefill',
    '--enable-prefix-caching',
    '--max-model-len',
    '8192',
  ]);
  assert.equal(env.DATABASE_URL, undefined);
  await adapter.remove(serving.digest);
  assert.deepEqual(living(), []);
  assert.equal((await adapter.observe(serving.digest)).state, 'absent');
  assert.deepEqual(await adapter.list(), []);
  await adapter.remove(serving.digest);
});

test("the worker's keys and addresses do not reach a replica", async (t) => {
  const { adapter, ready, living, startOf } = sandbox(t);
  process.env.DATABASE_URL = 'postgres://secret';
  process.env.SLIPWAY_HASH_KEY = 'secret';
  t.after(() => {
    delete process.env.DATABASE_URL;
    delete process.env.SLIPWAY_HASH_KEY;
  });
  const serving = exampleServing();
  await adapter.apply(serving);
  await ready(serving);
  const { env } = startOf(living()[0] ?? 0);
  assert.equal(JSON.stringify(env).includes('secret'), false);
  assert.equal(env.PATH, process.env.PATH);
});

test('applying again changes nothing, whoever does it', async (t) => {
  const { adapter, ready, living, startedEver, stateDir } = sandbox(t);
  const serving = exampleServing(2);
  await adapter.apply(serving);
  const before = await ready(serving);
  await adapter.apply(serving);
  const other = createLocalServing({ stateDir, command: standIn });
  await other.apply(serving);
  assert.deepEqual((await other.observe(serving.digest)).endpoints, before.endpoints);
  assert.equal(living().length, 2);
  assert.equal(startedEver(), 2);
  assert.deepEqual(
    (await other.list()).map(({ digest, state }) => ({ digest, state })),
    [{ digest: serving.digest, state: 'ready' }],
  );
});

test('workers that race start each replica once', async (t) => {
  const { ready, living, startedEver, stateDir } = sandbox(t);
  const serving = exampleServing(3);
  const appliers = [1, 2, 3].map(() => startApplier(stateDir, serving));
  for (const { exited } of appliers) assert.deepEqual(await exited, [0, null]);
  await ready(serving);
  assert.equal(living().length, 3);
  assert.equal(startedEver(), 3);
});

test('a worker killed at any moment of apply leaves neither a duplicate nor an orphan (invariant 6)', async (t) => {
  const { adapter, ready, living, stateDir } = sandbox(t);
  const serving = exampleServing(3);
  for (let round = 0; round < 12; round++) {
    const { child, exited, applying } = startApplier(stateDir, serving);
    await applying;
    // The whole of apply takes some 60 ms here.
    await delay(round * 6);
    child.kill('SIGKILL');
    await exited;
    await adapter.apply(serving);
    const seen = await ready(serving);
    assert.equal(new Set(seen.endpoints).size, 3);
    assert.equal(living().length, 3, `round ${round}`);
    await adapter.remove(serving.digest);
    assert.deepEqual(living(), [], `round ${round}`);
  }
});

test('killed before the start was recorded: the process is found by its token and adopted', async (t) => {
  const { adapter, ready, living, folderOf, startedEver } = sandbox(t);
  const serving = exampleServing();
  await adapter.apply(serving);
  const before = await ready(serving);
  const record = await readReplica(folderOf(serving), 0);
  assert.ok(record);
  await writeReplica(folderOf(serving), { ...record, process: null, wasReady: false });
  await adapter.apply(serving);
  assert.deepEqual((await ready(serving)).endpoints, before.endpoints);
  assert.deepEqual((await readReplica(folderOf(serving), 0))?.process, record.process);
  assert.equal(startedEver(), 1);
  assert.equal(living().length, 1);
});

test('killed before the start: the same port is used, and a removal finds nothing to end', async (t) => {
  const { adapter, ready, living, folderOf } = sandbox(t);
  const serving = exampleServing();
  const folder = folderOf(serving);
  await mkdir(folder, { recursive: true });
  await writeServing(folder, { serving, stopping: false });
  const port = await freePort();
  const intent = { index: 0, token: 'nobody', port, process: null, attempts: 1, wasReady: false };
  await writeReplica(folder, intent);
  assert.deepEqual((await ready(serving)).endpoints, [`http://127.0.0.1:${port}`]);
  await adapter.remove(serving.digest);
  await mkdir(folder, { recursive: true });
  await writeServing(folder, { serving, stopping: false });
  await writeReplica(folder, intent);
  await adapter.remove(serving.digest);
  assert.deepEqual(living(), []);
});

test('killed in the middle of a removal: nobody brings the rest back, and the next removal ends it', async (t) => {
  const { adapter, ready, living, folderOf } = sandbox(t);
  const serving = exampleServing(2);
  await adapter.apply(serving);
  await ready(serving);
  await writeServing(folderOf(serving), { serving, stopping: true });
  const records = () => readReplicas(folderOf(serving));
  const before = await records();
  const [victim = 0] = living();
  process.kill(victim, 'SIGKILL');
  await until('one left', living, (pids) => pids.length === 1);
  const seen = await adapter.observe(serving.digest);
  assert.deepEqual([seen.state, seen.ready], ['stopping', 1]);
  assert.deepEqual(await records(), before);
  await adapter.remove(serving.digest);
  assert.deepEqual(living(), []);
});

test('a replica that ends after it was ready comes back by itself, every time', async (t) => {
  const { adapter, ready, living, stateDir } = sandbox(t);
  const loading = join(stateDir, 'loading');
  const serving = exampleServing(2, { 'loads-while': loading });
  await adapter.apply(serving);
  await ready(serving);
  for (let round = 0; round < 4; round++) {
    await writeFile(loading, '');
    const [victim = 0] = living();
    process.kill(victim, 'SIGKILL');
    await until('ended', living, (pids) => !pids.includes(victim));
    const seen = await adapter.observe(serving.digest);
    assert.equal(seen.state, 'starting');
    assert.match(seen.message, /^1 of 2 replicas ready, 1 loading/);
    await rm(loading);
    assert.equal((await ready(serving)).ready, 2);
    assert.equal(living().length, 2);
  }
});

test("another process that has a dead replica's id is not taken for it, nor ended", async (t) => {
  const { adapter, ready, folderOf } = sandbox(t);
  const serving = exampleServing();
  await adapter.apply(serving);
  await ready(serving);
  const record = await readReplica(folderOf(serving), 0);
  assert.ok(record?.process);
  const bystander = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true });
  t.after(() => bystander.kill('SIGKILL'));
  await once(bystander, 'spawn');
  process.kill(record.process.pid, 'SIGKILL');
  await writeReplica(folderOf(serving), {
    ...record,
    process: { pid: bystander.pid ?? 0, start: record.process.start },
  });
  await ready(serving);
  const restarted = await readReplica(folderOf(serving), 0);
  assert.notEqual(restarted?.process?.pid, bystander.pid);
  await adapter.remove(serving.digest);
  assert.equal(bystander.exitCode, null);
  assert.equal(bystander.signalCode, null);
});

test('one that never becomes ready fails with the end of its log and a remedy; applying again tries again', async (t) => {
  const { adapter, living, startedEver } = sandbox(t);
  const serving = exampleServing(1, { 'fail-with': 'torch.OutOfMemoryError: CUDA out of memory' });
  await adapter.apply(serving);
  const failed = () => until('failed', () => adapter.observe(serving.digest), inState('failed'));
  const seen = await failed();
  assert.match(seen.message, /0 of 1 replicas ready; replica 0 ended 3 times before it was ready/);
  assert.match(seen.message, /CUDA out of memory$/);
  assert.match(seen.remedy ?? '', /use more GPUs/);
  assert.equal(startedEver(), 3);
  await adapter.observe(serving.digest);
  assert.equal(startedEver(), 3);
  await adapter.apply(serving);
  await failed();
  assert.equal(startedEver(), 6);
  await adapter.remove(serving.digest);
  assert.deepEqual(living(), []);
});

test('a program that does not exist is told as such, and leaves nothing', async (t) => {
  const { stateDir } = sandbox(t);
  const adapter = createLocalServing({ stateDir, command: ['no-such-vllm'] });
  const serving = exampleServing();
  await assert.rejects(
    adapter.apply(serving),
    (error) =>
      error instanceof SlipwayError &&
      error.code === 'SERVING_FAILED' &&
      error.details.value === 'no-such-vllm' &&
      /SLIPWAY_VLLM_COMMAND/.test(error.details.remedy ?? ''),
  );
  await adapter.remove(serving.digest);
});

test('one that does not end when asked is killed', async (t) => {
  const { stateDir, ready, living } = sandbox(t);
  const adapter = createLocalServing({ stateDir, command: standIn, graceMs: 100 });
  const serving = exampleServing(1, { deaf: true });
  await adapter.apply(serving);
  await ready(serving);
  await adapter.remove(serving.digest);
  assert.deepEqual(living(), []);
});

test('the end of a local stack ends every serving', async (t) => {
  const { adapter, ready, living, stateDir } = sandbox(t);
  const servings = [exampleServing(2), exampleServing(1, { 'max-num-seqs': 8 })];
  for (const serving of servings) await adapter.apply(serving);
  for (const serving of servings) await ready(serving);
  assert.equal(living().length, 3);
  await stopAll(stateDir);
  assert.deepEqual(living(), []);
  await stopAll(stateDir);
});

test('a folder that somebody else wrote into is no serving', async (t) => {
  const { adapter, stateDir } = sandbox(t);
  await mkdir(join(stateDir, 'servings', 'notes'), { recursive: true });
  await writeFile(join(stateDir, 'servings', 'notes', 'readme'), '');
  assert.deepEqual(await adapter.list(), []);
});
