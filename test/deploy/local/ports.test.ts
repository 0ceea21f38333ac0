import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { choosePort, freePort } from '../../../deploy/local/ports.ts';

const ports = fileURLToPath(new URL('../../../deploy/local/ports.ts', import.meta.url));
const elsewhere = async (expression: string): Promise<number> => {
  const script = `const { choosePort } = await import(${JSON.stringify(ports)}); console.log(${expression})`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  return Number(stdout);
};

test('a port is handed out once on a machine, though nobody listens on it yet', async () => {
  const port = await freePort();
  assert.equal(await choosePort(port), port, 'its own');
  assert.notEqual(await elsewhere(`await choosePort(${port})`), port);
});

test('a port of a process that has ended is free again, however it ended', async () => {
  const port = await freePort();
  const wanted = await elsewhere(`await choosePort(${port + 1}, ${port + 2}, ${port + 3})`);
  assert.equal(await choosePort(wanted), wanted);
  const killed = await elsewhere(
    `(await choosePort(${port + 4}, ${port + 5}, ${port + 6})) + '\\n'); process.kill(process.pid, 'SIGKILL'`,
  ).catch((error: { stdout: string }) => Number(error.stdout));
  assert.equal(await choosePort(killed), killed);
});
