import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';
import { gpuMemoryGiB } from '../../../simulator/nodes/gpu.ts';
import { notFound, pullsAlways } from '../../../simulator/nodes/images.ts';
import { logTail } from '../../../simulator/nodes/log-file.ts';
import { VLLM_IMAGES } from '../../../simulator/nodes/nodes.ts';
import { portOf } from '../../../simulator/nodes/probe-once.ts';
import { quantity } from '../../../simulator/nodes/quantity.ts';
import { readSettings } from '../../../simulator/nodes/settings.ts';

describe('small parts of the nodes', () => {
  it("read a GPU's memory from its product", () => {
    const products = ['A100-80GB', 'A100-40GB', 'L4-24GB', 'NVIDIA-H100-80GB-HBM3', 'NVIDIA-H200', undefined];
    assert.deepEqual(products.map(gpuMemoryGiB), [80, 40, 24, 80, 80, 80]);
  });

  it('read quantities', () => {
    const texts = ['64Gi', '1.5G', '500m', '1e9', '4', '512Mi', 'x', '1Xi'];
    assert.deepEqual(texts.map(quantity), [
      64 * 2 ** 30,
      1.5e9,
      0.5,
      1e9,
      4,
      2 ** 29,
      Number.NaN,
      Number.NaN,
    ]);
  });

  it("name images as a container runtime does, and know vLLM's own", () => {
    assert.match(
      notFound('vllm/x'),
      /reference "docker\.io\/vllm\/x:latest": docker\.io\/vllm\/x:latest: not found$/,
    );
    assert.match(notFound('redis:7'), /: docker\.io\/library\/redis:7: not found$/);
    assert.match(notFound('ghcr.io/a/b@sha256:1'), /: ghcr\.io\/a\/b@sha256:1: not found$/);
    const exists = (image: string) => VLLM_IMAGES.test(image);
    assert.ok(exists('vllm/vllm-openai:v0.20.0') && exists('docker.io/vllm/vllm-openai@sha256:ab'));
    assert.ok(!exists('vllm/vllm-openai-nightly:1') && !exists('other/vllm/vllm-openai:1'));
  });

  it('pull always what has no tag, or as the policy says', () => {
    assert.ok(
      pullsAlways('a/b', undefined) && pullsAlways('a/b:latest', undefined) && pullsAlways('a:1', 'Always'),
    );
    assert.ok(
      !pullsAlways('a/b:1', undefined) && !pullsAlways('a@sha256:1', undefined) && !pullsAlways('a', 'Never'),
    );
  });

  it('find ports by number and by name', () => {
    const container = { name: 'c', ports: [{ name: 'http', containerPort: 8000 }] };
    assert.deepEqual(
      [8001, '8002', 'http', 'none', 0].map((port) => portOf(port, container)),
      [8001, 8002, 8000, undefined, undefined],
    );
  });

  it('give the last lines of a log', () => {
    const folder = mkdtempSync(join(tmpdir(), 'slipway-log-'));
    try {
      const file = join(folder, 'log');
      writeFileSync(file, 'one\ntwo\nthree\n');
      assert.equal(logTail(file, 2, 1000), 'two\nthree\n');
      assert.equal(logTail(file, 9, 1000), 'one\ntwo\nthree\n');
      assert.equal(logTail(file, 9, 5), 'hree\n');
      assert.equal(logTail(file, 0, 1000), '');
      writeFileSync(file, 'no end of line');
      assert.equal(logTail(file, 1, 1000), 'no end of line');
      assert.throws(() => logTail(join(folder, 'none'), 1, 1));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('read their command line', () => {
    const settings = readSettings(
      [
        '--state',
        's',
        '--node',
        'a=4xA100-80GB',
        '--node',
        'b',
        '--image',
        '^x$',
        '--program',
        '["p","q"]',
        '--keep-nodes',
        '--env',
        'A=b=c',
      ],
      { SIMULATOR_SPEED: '2', SIMULATOR_KNOWLEDGE: 'k.yaml', SIMULATOR_MODELS: '', HOME: '/' },
    );
    assert.deepEqual(settings.nodes, [{ name: 'a', gpus: 4, gpuProduct: 'A100-80GB' }, { name: 'b' }]);
    assert.deepEqual(settings.program, ['p', 'q']);
    assert.deepEqual(settings.environment, {
      SIMULATOR_SPEED: '2',
      SIMULATOR_KNOWLEDGE: resolve('k.yaml'),
      A: 'b=c',
    });
    assert.equal(settings.removeNodes, false);
    const refused = [
      [],
      ['--state', 's', '--node', 'A_B'],
      ['--state', 's', '--pull-ms', 'x'],
      ['--none'],
      ['--state', 's', '--env', 'x'],
    ];
    for (const args of refused) assert.throws(() => readSettings(args, {}), { name: 'NodesError' });
  });
});
