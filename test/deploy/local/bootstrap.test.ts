import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('../../../deploy/local/bootstrap.mjs', import.meta.url));
const { dependenciesMatch, stampDependencies } = (await import(script)) as {
  dependenciesMatch: (root: string) => boolean;
  stampDependencies: (root: string) => void;
};

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'slipway-bootstrap-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const leftPad = { version: '1.0.0', integrity: 'sha512-a' };

function lock(packages: Record<string, object>): void {
  writeFileSync(join(root, 'package-lock.json'), JSON.stringify({ packages: { '': {}, ...packages } }));
}

function install(packages: Record<string, object> | undefined): void {
  mkdirSync(join(root, 'node_modules', '.bin'), { recursive: true });
  writeFileSync(join(root, 'node_modules', '.bin', 'node'), '');
  if (!packages) return;
  writeFileSync(join(root, 'node_modules', '.package-lock.json'), JSON.stringify({ packages }));
}

test('a fresh clone has nothing that matches', () => {
  lock({});
  assert.equal(dependenciesMatch(root), false);
});

test('an interrupted install does not match: no stamp, and no record by npm', () => {
  lock({ 'node_modules/left-pad': leftPad });
  install(undefined);
  assert.equal(dependenciesMatch(root), false);
});

test('the stamp holds for the lock that it was made for and no other', () => {
  lock({ 'node_modules/left-pad': leftPad });
  install(undefined);
  stampDependencies(root);
  assert.equal(dependenciesMatch(root), true);
  lock({ 'node_modules/left-pad': { ...leftPad, version: '1.0.1' } });
  assert.equal(dependenciesMatch(root), false);
});

test("an install by hand counts when npm's record agrees with the lock in version and integrity", () => {
  lock({
    'node_modules/left-pad': leftPad,
    'node_modules/for-another-platform': { version: '1.0.0', optional: true },
  });
  install({ 'node_modules/left-pad': { ...leftPad, integrity: 'sha512-b' } });
  assert.equal(dependenciesMatch(root), false);
  install({ 'node_modules/left-pad': { ...leftPad, version: '0.9.0' } });
  assert.equal(dependenciesMatch(root), false);
  install({ 'node_modules/left-pad': leftPad });
  assert.equal(dependenciesMatch(root), true);
});

test('a stamp does not help when the Node of the repository is gone', () => {
  lock({});
  install({});
  stampDependencies(root);
  rmSync(join(root, 'node_modules', '.bin', 'node'));
  assert.equal(dependenciesMatch(root), false);
});

/** Runs the program through the bootstrap of this very checkout. */
function start(program: string, ...args: string[]) {
  const target = join(root, 'target.ts');
  writeFileSync(target, program);
  return spawn(process.execPath, [script, target, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
}

test('arguments reach the program on Node 24, and its exit code comes back', async () => {
  const child = start(
    'console.log(process.version.split(".")[0], process.argv.slice(2).join(" ")); process.exit(7)',
    '--once',
    'a b',
  );
  let out = '';
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  const [code] = await once(child, 'close');
  assert.equal(out, 'v24 --once a b\n');
  assert.equal(code, 7);
});

for (const [signal, code] of [
  ['SIGINT', 42],
  ['SIGTERM', 42],
] as const) {
  test(`${signal} reaches the program, which ends as it likes`, async () => {
    const child = start(
      `process.on('${signal}', () => process.exit(42)); setInterval(() => {}, 1000); console.log('up')`,
    );
    await once(createInterface({ input: child.stdout }), 'line');
    child.kill(signal);
    assert.deepEqual(await once(child, 'exit'), [code, null]);
  });
}

test('a program killed by a signal is told by 128 and its number', async () => {
  const child = start(`process.kill(process.pid, 'SIGKILL')`);
  assert.deepEqual(await once(child, 'exit'), [137, null]);
});

test('a program that asks for it learns that the bootstrap was killed', async () => {
  const child = start(
    `process.on('disconnect', () => { console.log('alone'); process.exit(0) }); console.log('up')`,
  );
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'up');
  child.kill('SIGKILL');
  assert.equal((await lines.next()).value, 'alone');
});
