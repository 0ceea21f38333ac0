import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { slipway } from './slipway.ts';
import { json, startStub } from './stub.ts';

const object = (kind: string) => ({
  kind,
  apiVersion: 'v1',
  metadata: { name: 'slipway-0123456789ab', namespace: 'models', labels: { a: 'yes' } },
});
const manifests = {
  serving: `sha256:${'0123456789abcdef'.repeat(4)}`,
  name: 'slipway-0123456789ab',
  settings: 'default',
  notes: ['Serving one.', 'Rendered with the default settings.'],
  objects: [object('Service'), object('ServiceAccount')],
};
const document = (kind: string) => `---
apiVersion: v1
kind: ${kind}
metadata:
  labels:
    a: "yes"
  name: slipway-0123456789ab
  namespace: models
`;
const comment = '# Serving one.\n# Rendered with the default settings.\n';

describe('slipway revision render', () => {
  let folder: string;
  let stub: Awaited<ReturnType<typeof startStub>>;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-render-'));
    stub = await startStub((_asked, response) => json(response, 200, manifests));
  });
  after(async () => {
    await stub.stop();
    await rm(folder, { recursive: true });
  });

  it('writes what the API renders as one YAML of several documents, with what to know above', async () => {
    const { code, stdout } = await slipway(['revision', 'render', 'sha256:0123456789ab'], stub.env);
    assert.equal(code, 0);
    assert.equal(stdout, `${comment}${document('Service')}${document('ServiceAccount')}`);
    assert.equal(stub.asked.at(-1)?.path, '/v1/revisions/sha256%3A0123456789ab/manifests');
  });

  it('writes the answer of the API with --json', async () => {
    const { stdout } = await slipway(['--json', 'revision', 'render', '0123456789ab'], stub.env);
    assert.deepEqual(JSON.parse(stdout), manifests);
  });

  it('writes one file an object into a folder that it makes', async () => {
    const args = ['revision', 'render', '0123456789ab', '--out-dir', 'out/manifests'];
    const { stdout } = await slipway(args, stub.env, folder);
    const paths = ['service', 'serviceaccount'].map(
      (kind) => `out/manifests/slipway-0123456789ab-${kind}.yaml`,
    );
    assert.equal(stdout, `${paths.join('\n')}\n`);
    const texts = await Promise.all(paths.map((path) => readFile(join(folder, path), 'utf8')));
    assert.deepEqual(texts, [`${comment}${document('Service')}`, `${comment}${document('ServiceAccount')}`]);
  });

  it('asks for what a release file would make, and pushes nothing', async () => {
    const file = join(folder, 'release.yaml');
    await writeFile(
      file,
      `application: shop
prompt: ./prompt.yaml
model:
  name: a-model
  architecture: { layers: 1, kvHeads: 1, headDim: 64, kvBytes: 2 }
  weightsGiB: 1
  price: { inputPerMillion: 1, outputPerMillion: 1 }
runtime: { flags: {}, gpu: { kind: L4, memoryGiB: 24, count: 1 }, concurrency: 1, replicas: 1 }
policy: { serving: { readyWithin: 90s } }
`,
    );
    const before = stub.asked.length;
    const { code, stderr } = await slipway(['revision', 'render', '-f', file], stub.env);
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      stub.asked.slice(before).map(({ method, path }) => `${method} ${path}`),
      ['POST /v1/manifests'],
    );
    assert.deepEqual(stub.asked.at(-1)?.body, {
      application: 'shop',
      runtime: {
        flags: {},
        gpu: { kind: 'L4', memoryGiB: 24, count: 1 },
        concurrency: 1,
        replicas: 1,
      },
      model: {
        name: 'a-model',
        architecture: { layers: 1, kvHeads: 1, headDim: 64, kvBytes: 2, weightsGiB: 1 },
        price: { inputPerMillion: 1, outputPerMillion: 1 },
      },
      policy: { serving: { readyWithin: '90s' } },
    });
  });

  for (const args of [[], ['0123456789ab', '-f', 'release.yaml']]) {
    it(`wants a revision or a release file: ${args.length === 0 ? 'neither' : 'both'} is a wrong command line`, async () => {
      const { code, stderr } = await slipway(['revision', 'render', ...args], stub.env);
      assert.equal(code, 2);
      assert.match(stderr, /one of both/);
    });
  }
});
