import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadKubeConfig } from '../../../adapters/kubernetes/config.ts';
import { SlipwayError } from '../../../domain/errors.ts';
import { temporaryFolder } from '../../support/stack.ts';

const folder = temporaryFolder();
after(folder.remove);

function kubeconfig(name: string): string {
  const file = join(folder.path, name);
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server: `https://${name}` } }],
    users: [{ name, user: { token: 't' } }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

test('the cluster is that of KUBECONFIG; of several files the first says which', () => {
  const [one, two] = [kubeconfig('one'), kubeconfig('two')];
  assert.equal(loadKubeConfig({ KUBECONFIG: one }).getCurrentCluster()?.server, 'https://one');
  const both = loadKubeConfig({ KUBECONFIG: `${one}:${two}` });
  assert.equal(both.getCurrentCluster()?.server, 'https://one');
  assert.deepEqual(
    both.getClusters().map(({ name }) => name),
    ['one', 'two'],
  );
});

const bad: [string, string | undefined, RegExp][] = [
  ['none', undefined, /it is not said which Kubernetes cluster to use/],
  ['a file that does not exist', join(folder.path, 'missing'), /cannot be used: ENOENT/],
];
for (const [what, file, message] of bad) {
  test(`${what} is refused with what to set`, () => {
    assert.throws(
      () => loadKubeConfig({ KUBECONFIG: file, HOME: folder.path }),
      (error) => {
        assert.ok(error instanceof SlipwayError);
        assert.equal(error.details.field, 'KUBECONFIG');
        assert.match(error.message, message);
        return true;
      },
    );
  });
}
