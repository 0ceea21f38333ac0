import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { parseDocument } from 'yaml';
import { PATIENCE_MS } from '../support/patience.ts';
import {
  startPostgres,
  startTemporal,
  type TestPostgres,
  type TestTemporal,
  temporaryFolder,
} from '../support/stack.ts';

const folder = temporaryFolder();
let postgres: TestPostgres;
let temporal: TestTemporal;

before(async () => {
  postgres = await startPostgres();
  temporal = await startTemporal();
});
after(async () => {
  await temporal?.stop();
  await postgres?.stop();
  folder.remove();
});

test('a worker that is told to end drains and ends by itself: nobody has to kill it', async () => {
  const topology = join(folder.path, 'temporal.yaml');
  const repositorys = parseDocument(readFileSync('temporal.yaml', 'utf8'));
  repositorys.setIn(['namespace', 'name'], temporal.namespace);
  writeFileSync(topology, String(repositorys));
  const worker = spawn(process.execPath, ['workers/main.ts'], {
    env: {
      DATABASE_URL: postgres.url,
      PROMETHEUS_URL: 'http://127.0.0.1:9',
      TEMPORAL_ADDRESS: temporal.address,
      SLIPWAY_TEMPORAL_TOPOLOGY: topology,
      SLIPWAY_STATE_DIR: folder.path,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
    signal: AbortSignal.timeout(PATIENCE_MS),
    killSignal: 'SIGKILL',
  });
  const ended = once(worker, 'exit');
  for await (const line of createInterface(worker.stdout)) {
    if (line.includes('"worker started"')) worker.kill('SIGTERM');
  }
  assert.deepEqual(await ended, [0, null]);
});
