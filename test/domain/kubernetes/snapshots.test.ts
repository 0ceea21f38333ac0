import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { renderServing } from '../../../domain/kubernetes/render.ts';
import { manifestYaml } from '../../../domain/kubernetes/yaml.ts';
import { renderings } from './cases.ts';

const folder = fileURLToPath(new URL('snapshots/', import.meta.url));
const fileOf = (name: string): string => `${name.replaceAll(/[^a-zA-Z0-9]+/g, '-').toLowerCase()}.yaml`;

// A change that is meant: npx node --test --test-update-snapshots test/domain/kubernetes/snapshots.test.ts, and read the diff.
for (const [name, { serving, settings, keda }] of Object.entries(renderings)) {
  test(`${name} is rendered as snapshots/${fileOf(name)} (meant to change? --test-update-snapshots)`, (t) => {
    const yaml = manifestYaml(renderServing(serving, settings, { keda }));
    t.assert.fileSnapshot(yaml, `${folder}${fileOf(name)}`, { serializers: [String] });
  });
}

test('there is no snapshot that no rendering has', async () => {
  assert.deepEqual((await readdir(folder)).sort(), Object.keys(renderings).map(fileOf).sort());
});
