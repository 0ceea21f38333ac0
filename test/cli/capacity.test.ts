import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { slipway } from './slipway.ts';

const GIB = 2 ** 30;

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'slipway-capacity-'));
  const config = {
    hidden_size: 8192,
    num_attention_heads: 64,
    num_hidden_layers: 80,
    num_key_value_heads: 8,
  };
  await writeFile(
    join(folder, 'config.json'),
    JSON.stringify({ ...config, max_position_embeddings: 131_072 }),
  );
});
after(() => rm(folder, { recursive: true, force: true }));

const ask = (...options: string[]) =>
  slipway(['capacity', folder, '--gpu', 'A100-80GB', '--count', '4', ...options]);

test('the case that ran out of memory is refused with what to change, and what fits is told', async () => {
  const weights = ['--weights-gib', '131.5', '--concurrency', '50'];
  const refused = await ask('--context', '32768', ...weights);
  assert.equal(refused.code, 1);
  assert.match(
    refused.stdout,
    /50 requests × 32768 tokens want 500 GiB of KV cache, but 4 × A100-80GB leave 148\.5 GiB/,
  );
  assert.match(
    refused.stdout,
    /lower --max-model-len to 9728, and give longer inputs an instance of their own/,
  );
  const taken = await ask('--context', '8192', ...weights);
  assert.equal(taken.code, 0);
  assert.match(taken.stdout, /a token +320 KiB over 4 GPUs/);
  assert.match(taken.stdout, /^8192 +59\.3$/m);
  assert.match(taken.stdout, /50 requests × 8192 tokens want 125 GiB/);
});

test('the weights are those of the index beside the config, or of the files', async () => {
  const context = ['--context', '8192', '--json'];
  const missing = await ask(...context);
  assert.equal(missing.code, 1);
  assert.match(missing.stdout, /model\.safetensors\.index\.json/);
  const weightsOf = async () => JSON.parse((await ask(...context)).stdout).architecture.weightsGiB;
  await writeFile(join(folder, 'model.safetensors'), Buffer.alloc(2048));
  assert.equal(await weightsOf(), 2048 / GIB);
  await writeFile(
    join(folder, 'model.safetensors.index.json'),
    JSON.stringify({ metadata: { total_size: 130 * GIB } }),
  );
  assert.equal(await weightsOf(), 130);
});

test('the type of the cache and any other flag are those of the runtime', async () => {
  const figures = async (...options: string[]) =>
    JSON.parse((await ask('--context', '8192', '--weights-gib', '131.5', '--json', ...options)).stdout);
  const plain = await figures();
  assert.equal(plain.bytesPerToken, 320 * 1024);
  assert.equal((await figures('--kv-dtype', 'fp8')).bytesPerToken, 160 * 1024);
  const more = await figures('--flag', 'gpu_memory_utilization=0.95');
  assert.ok(more.cacheTokens > plain.cacheTokens);
  assert.deepEqual(
    plain.requestsByLength.map((one: { tokens: number }) => one.tokens),
    [8192, 4096, 2048],
  );
});

test('what cannot be known is refused with the way to know it', async () => {
  const elsewhere = await slipway(['capacity', 'org/model', '--gpu', 'L4-24GB', '--context', '8192']);
  assert.equal(elsewhere.code, 1);
  assert.match(elsewhere.stderr, /hf download org\/model config\.json/);
  const strange = await slipway([
    'capacity',
    folder,
    '--gpu',
    'X1',
    '--context',
    '8192',
    '--weights-gib',
    '1',
  ]);
  assert.match(
    strange.stderr,
    /Use one of B200-180GB, .* or say its memory as nvidia-smi does: --memory-gib/,
  );
  const told = ['--gpu', 'X1', '--memory-gib', '100', '--context', '8192', '--weights-gib', '1'];
  assert.equal((await slipway(['capacity', folder, ...told])).code, 0);
  assert.equal((await ask('--context', '8192', '--concurrency', 'many')).code, 2);
});

test('a folder without config.json and a broken config.json are told as what they are', async () => {
  const empty = await mkdtemp(join(tmpdir(), 'slipway-capacity-'));
  const asked = () =>
    slipway(['capacity', empty, '--gpu', 'L4-24GB', '--context', '8192', '--weights-gib', '1']);
  try {
    const none = await asked();
    assert.equal(none.code, 1);
    assert.ok(none.stderr.includes(`${empty} has no config.json`), none.stderr);
    await writeFile(join(empty, 'config.json'), '{ "hidden_size": 8192,');
    const broken = await asked();
    assert.equal(broken.code, 1);
    assert.match(broken.stderr, /config\.json: not JSON: /);
    assert.match(broken.stderr, /Correct the JSON there/);
    assert.doesNotMatch(broken.stderr, /YAML/);
  } finally {
    await rm(empty, { recursive: true, force: true });
  }
});

test('GPUs that cannot share the heads are refused; one request is one', async () => {
  const weights = ['--weights-gib', '132', '--context', '8192'];
  const three = await slipway(['capacity', folder, '--gpu', 'H100-80GB', '--count', '3', ...weights]);
  assert.equal(three.code, 1);
  assert.match(three.stdout, /Use a --tensor-parallel-size of 1, 2, 4, 8/);
  const four = await ask('--context', '131072', '--weights-gib', '230');
  assert.match(four.stdout, /at once +1(\.\d)? requests? of/);
  assert.match(four.stdout, /1 request × 131072 tokens wants/);
});
