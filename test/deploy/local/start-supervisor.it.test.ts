import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { TellingSupervisor } from '../../../deploy/local/start-supervisor.ts';
import { temporaryFolder } from '../../support/stack.ts';

const folder = temporaryFolder();
after(folder.remove);

test('says which part it stops, one after the other, and which one did not end by itself', async () => {
  const told: string[] = [];
  const supervisor = new TellingSupervisor((line) => told.push(line));
  const part = (name: string, program: string, graceMs?: number) => {
    const logFile = join(folder.path, `${name}.log`);
    return supervisor.start({
      name,
      command: process.execPath,
      args: ['-e', `${program}; setInterval(() => {}, 1000); console.log('up')`],
      logFile,
      ready: async () => readFileSync(logFile, 'utf8').includes('up'),
      ...(graceMs === undefined ? {} : { graceMs }),
    });
  };
  await part('first', '');
  await part('deaf', "process.on('SIGTERM', () => {})", 300);
  const gone = await part('gone', '');
  await gone.stop();
  await part('last', '');
  await supervisor.stopAll();
  assert.deepEqual(told, [
    '  stopping last',
    '  stopping deaf',
    '  deaf did not end in time and was killed',
    '  stopping first',
  ]);
});
