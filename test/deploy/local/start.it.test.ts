import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const start = fileURLToPath(new URL('../../../deploy/local/start.ts', import.meta.url));

for (const [args, problem] of [
  [['--nonsense'], "Unknown option '--nonsense'"],
  [['extra'], "Unexpected argument 'extra'"],
  [['--state'], "Option '--state <value>' argument missing"],
] as const) {
  test(`npm start -- ${args.join(' ')} starts nothing, and says what is wrong and what there is`, () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [start, ...args], { encoding: 'utf8' });
    assert.equal(status, 2);
    assert.equal(stdout, '');
    assert.deepEqual(stderr.trimEnd().split('\n'), [
      problem,
      'usage: npm start -- [--once] [--stack] [--kubernetes] [--state FOLDER]',
    ]);
  });
}
