import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cacheRoot, placeInCache, withLock } from '../../../../deploy/local/tools/cache.ts';
import { checksumIn } from '../../../../deploy/local/tools/download.ts';
import { type ResolveOptions, resolveTool } from '../../../../deploy/local/tools/resolve.ts';
import {
  allTools,
  etcd,
  helm,
  kubeApiserver,
  type Tool,
  temporalServer,
} from '../../../../deploy/local/tools/spec.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'slipway-cache-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const tool: Tool = { ...temporalServer, name: 'sample', version: '1.32.1', commands: ['sample-server'] };
const program = (version: string): string => `#!/bin/sh\necho sample ${version}\n`;

/** Sources that only note that they were asked. */
function sources(asked: string[], over: Partial<ResolveOptions> = {}): ResolveOptions {
  return {
    say: () => undefined,
    root,
    env: { PATH: '' },
    download: async () => {
      asked.push('download');
      throw new Error('unreachable');
    },
    build: async (_, folder) => {
      asked.push('build');
      writeFileSync(join(folder, 'sample'), program('1.32.1'));
    },
    ...over,
  };
}

test('the cache is where the environment says, and outside the checkout by default', () => {
  assert.equal(cacheRoot({ SLIPWAY_CACHE_DIR: '/c', XDG_CACHE_HOME: '/x' }), '/c');
  assert.equal(cacheRoot({ XDG_CACHE_HOME: '/x' }), '/x/slipway');
  assert.match(cacheRoot({}), /\/\.cache\/slipway$/);
});

test('what is built once is found in the cache afterwards', async () => {
  const asked: string[] = [];
  const first = await resolveTool(tool, sources(asked));
  assert.deepEqual(asked, ['download', 'build']);
  assert.equal(await resolveTool(tool, sources(asked)), first);
  assert.deepEqual(asked, ['download', 'build']);
  assert.match(first, /sample-1\.32\.1-\w+-\w+\/sample$/);
});

test('a program on PATH comes first, unless it is too old', async () => {
  const bin = mkdtempSync(join(root, 'bin-'));
  const file = join(bin, 'sample-server');
  writeFileSync(file, program('1.33.0'), { mode: 0o755 });
  const asked: string[] = [];
  assert.equal(await resolveTool(tool, sources(asked, { env: { PATH: bin } })), file);
  assert.deepEqual(asked, []);
  writeFileSync(file, program('1.31.9'), { mode: 0o755 });
  assert.notEqual(await resolveTool(tool, sources(asked, { env: { PATH: bin } })), file);
  assert.deepEqual(asked, ['download', 'build']);
});

test('a program is asked for its version in its own way', async () => {
  const bin = mkdtempSync(join(root, 'bin-'));
  const file = join(bin, 'sample-server');
  const text = '#!/bin/sh\ntest "$*" = "version --short" && echo sample 1.33.0\n';
  writeFileSync(file, text, { mode: 0o755 });
  const asked: string[] = [];
  const own = { ...tool, versionArgs: ['version', '--short'] };
  assert.equal(await resolveTool(own, sources(asked, { env: { PATH: bin } })), file);
  assert.notEqual(await resolveTool(tool, sources(asked, { env: { PATH: bin } })), file);
});

test('a download is used when it runs here, else the tool is built', async () => {
  const asked: string[] = [];
  const downloads =
    (text: string): NonNullable<ResolveOptions['download']> =>
    async (_, folder) => {
      asked.push('download');
      writeFileSync(join(folder, 'sample'), text, { mode: 0o755 });
    };
  await resolveTool(tool, sources(asked, { download: downloads('for another machine') }));
  assert.deepEqual(asked, ['download', 'build']);
  const other = { ...tool, name: 'sample', version: '1.32.2' };
  await resolveTool(other, sources(asked, { download: downloads(program('1.32.2')) }));
  assert.deepEqual(asked, ['download', 'build', 'download']);
});

test('starts at the same time build once', async () => {
  const asked: string[] = [];
  const files = await Promise.all([1, 2, 3, 4].map(() => resolveTool(tool, sources(asked))));
  assert.equal(new Set(files).size, 1);
  assert.deepEqual(asked, ['download', 'build']);
});

test('a failed build leaves nothing in the cache', async () => {
  const failing = sources([], {
    build: async (_, folder) => {
      writeFileSync(join(folder, 'sample'), 'half');
      throw new Error('disk full');
    },
  });
  await assert.rejects(resolveTool(tool, failing), /disk full/);
  assert.deepEqual(
    readdirSync(root).filter((name) => !name.endsWith('.lock')),
    [],
  );
});

test('a build that makes nothing is an error', async () => {
  await assert.rejects(
    placeInCache(tool, async () => undefined, root),
    /nothing was made/,
  );
});

test('what is in the cache already is replaced whole', async () => {
  const make = (text: string) => async (folder: string) => writeFileSync(join(folder, 'sample'), text);
  await placeInCache(tool, make('old'), root);
  const file = await placeInCache(tool, make('new'), root);
  assert.equal(readFileSync(file, 'utf8'), 'new');
});

test('a lock excludes another process until its holder is killed', async () => {
  const cache = fileURLToPath(new URL('../../../../deploy/local/tools/cache.ts', import.meta.url));
  const text = `
    import { withLock } from ${JSON.stringify(cache)};
    await withLock('sample', () => new Promise(() => { setInterval(() => {}, 1000); console.log('held'); }), { root: ${JSON.stringify(root)} });
  `;
  const holder = spawn(process.execPath, ['--input-type=module-typescript', '-e', text], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(createInterface({ input: holder.stdout }), 'line');
  const events: string[] = [];
  const ended = once(holder, 'exit').then(() => events.push('holder killed'));
  const taken = withLock('sample', async () => events.push('taken'), {
    root,
    onWait: () => {
      events.push('waiting');
      holder.kill('SIGKILL');
    },
  });
  await Promise.all([ended, taken]);
  assert.equal(events[0], 'waiting');
  assert.equal(events.length, 3);
});

test('a checksum is found by the exact name of the file', () => {
  const sum = (digit: string): string => digit.repeat(64);
  const list = `${sum('a')}  temporal_1.32.1_linux_amd64.tar.gz\n${sum('B')} *temporal_1.32.1_linux_arm64.tar.gz\nbad line\n`;
  assert.equal(checksumIn(list, 'temporal_1.32.1_linux_amd64.tar.gz'), sum('a'));
  assert.equal(checksumIn(list, 'temporal_1.32.1_linux_arm64.tar.gz'), sum('b'));
  assert.equal(checksumIn(list, 'linux_amd64.tar.gz'), undefined);
  assert.equal(checksumIn(`${sum('C')}\n`, 'kube-apiserver'), sum('c'), 'a file with one checksum alone');
});

test('every tool is pinned to the same version in its name, its release and its Go module', () => {
  for (const { name, version, module = name, goPackage, release } of allTools) {
    const modules = readFileSync(
      new URL(`../../../../deploy/tools/${module}/go.mod`, import.meta.url),
      'utf8',
    );
    assert.match(modules, new RegExp(`^(tool |\\t)${goPackage}$`, 'm'), `${name}: go.mod names the program`);
    const path = goPackage.replace(/\/cmd\/.*$/, '');
    const goVersion = name === 'prometheus' ? version.replace(/^3\.(\d+)\./, '0.3$1.') : version;
    assert.ok(modules.includes(`${path} v${goVersion} `), `${name}: go.mod pins ${path} v${goVersion}`);
    const { archive, checksums } = release('linux', 'amd64');
    assert.match(archive, new RegExp(`v${version}[/-]`), name);
    assert.match(checksums, new RegExp(`v${version}[/-]`), name);
  }
});

test('every staging module of Kubernetes is pinned to the release that it belongs to', () => {
  const modules = readFileSync(
    new URL('../../../../deploy/tools/kubernetes/go.mod', import.meta.url),
    'utf8',
  );
  const wanted = `v${kubeApiserver.version.replace(/^1/, '0')}`;
  const replaced = [...modules.matchAll(/^\t(k8s\.io\/\S+) => (\S+) (\S+)$/gm)];
  assert.ok(replaced.length > 20);
  for (const [, from, to, version] of replaced) assert.deepEqual([to, version], [from, wanted]);
});

test('versions that Slipway can use are told from those that it cannot', () => {
  const [server, ui, metrics] = allTools;
  assert.equal(server?.accepts('temporal version 1.32.1'), true);
  assert.equal(server?.accepts('temporal version 1.31.4'), false);
  assert.equal(server?.accepts('temporal version 2.0.0'), false);
  assert.equal(ui?.accepts('Temporal UI version 2.54.1'), true);
  assert.equal(ui?.accepts('some other ui-server 2.54.1'), false);
  assert.equal(metrics?.accepts('prometheus, version 3.13.5 (branch: , revision: unknown)'), true);
  assert.equal(metrics?.accepts('prometheus, version 2.53.0'), false);
  assert.equal(etcd.accepts('etcd Version: 3.6.5\nGit SHA: Not provided\nGo Version: go1.26.8'), true);
  assert.equal(etcd.accepts('etcd Version: 3.5.21'), false);
  assert.equal(kubeApiserver.accepts('Kubernetes v1.34.4'), true);
  assert.equal(kubeApiserver.accepts('Kubernetes v1.30.0'), false);
  assert.equal(helm.accepts('version.BuildInfo{Version:"v3.19.0", GoVersion:"go1.26.8"}'), true);
  assert.equal(helm.accepts('version.BuildInfo{Version:"v4.0.0", GoVersion:"go1.26.8"}'), false);
});
