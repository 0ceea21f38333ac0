import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findProcess, isAlive, parsePs } from '../../../adapters/serving/local/processes.ts';

test('a process is told from a later one with the same id by its start', async () => {
  const self = await findProcess(process.pid);
  assert.ok(self);
  assert.equal(await isAlive(self), true);
  assert.equal(await isAlive({ pid: process.pid, start: 'another' }), false);
  assert.equal(await findProcess(2 ** 22 + 1), null);
});

test('the table of ps is read: groups, starts, commands with their environment; not what waits to be reaped', () => {
  const table = `    1     1 Ss   Mon Nov  3 07:00:01 2025     /sbin/launchd
  412   412 S    Fri Nov 21 09:18:33 2025     vllm serve a model --port 1 SLIPWAY_REPLICA=t-1 PATH=/bin
  413   412 Z    Fri Nov 21 09:18:34 2025     (vllm)
`;
  assert.deepEqual(parsePs(table), [
    { pid: 1, group: 1, start: 'Mon Nov  3 07:00:01 2025', command: '/sbin/launchd' },
    {
      pid: 412,
      group: 412,
      start: 'Fri Nov 21 09:18:33 2025',
      command: 'vllm serve a model --port 1 SLIPWAY_REPLICA=t-1 PATH=/bin',
    },
  ]);
});
