import assert from 'node:assert/strict';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Client } from '@temporalio/client';
import { connectTemporal } from '../../../adapters/temporal/connection.ts';
import { runSql } from '../../../deploy/local/postgres.ts';
import { answersHttp, waitUntil } from '../../../deploy/local/probe.ts';
import { Supervisor } from '../../../deploy/local/processes.ts';
import { type Stack, startStack } from '../../../deploy/local/stack.ts';
import { PATIENCE_MS } from '../../support/patience.ts';
import { temporaryFolder } from '../../support/stack.ts';

const folder = temporaryFolder();
const environment = { PATH: process.env.PATH };
const quiet = (): void => undefined;
const WITHIN = { timeoutMs: PATIENCE_MS };

let supervisor: Supervisor;
let stack: Stack;
before(async () => {
  supervisor = new Supervisor();
  stack = await startStack({ supervisor, state: folder.path, ports: 'free', say: quiet, env: environment });
});
after(async () => {
  await supervisor.stopAll();
  folder.remove();
});

test('every part answers at the address that the environment of the processes names', async () => {
  const { rows } = await runSql(
    stack.env.DATABASE_URL ?? '',
    'select count(*)::int as applied from migrations',
  );
  assert.ok(Number(rows[0]?.applied) > 0, 'the migrations are applied');
  const connection = await connectTemporal(stack.env);
  try {
    const client = new Client({ connection, namespace: stack.topology.namespace.name });
    assert.equal((await client.workflow.count(`SlipwayStage = 'canary'`)).count, 0);
  } finally {
    await connection.close();
  }
  assert.ok(await answersHttp(`${stack.env.PROMETHEUS_URL}/-/ready`));
  const page = await fetch(stack.temporalUi?.url ?? '');
  assert.equal(page.status, 200);
  const namespaces = await fetch(`${stack.temporalUi?.url}/api/v1/namespaces`);
  assert.match(await namespaces.text(), /"name":\s*"slipway"/);
});

test('a second stack on the same state is refused', async () => {
  const options = { supervisor, state: folder.path, ports: 'free', say: quiet, env: environment } as const;
  await assert.rejects(startStack(options), {
    code: 'DEPENDENCY_UNAVAILABLE',
    message: /Another local stack/,
  });
});

test('a fresh start does not empty a folder that is no state of a stack', async () => {
  const home = temporaryFolder();
  try {
    writeFileSync(join(home.path, 'thesis.md'), 'all of it');
    const options = { supervisor, state: home.path, fresh: true, say: quiet, env: environment } as const;
    await assert.rejects(startStack(options), {
      code: 'INPUT_INVALID',
      message: /no state of a local stack/,
    });
    assert.deepEqual(readdirSync(home.path), ['thesis.md']);
  } finally {
    home.remove();
  }
});

async function query(expression: string): Promise<number> {
  const url = `${stack.prometheusUrl}/api/v1/query?query=${encodeURIComponent(expression)}`;
  const body = (await (await fetch(url)).json()) as { data: { result: { value: [number, string] }[] } };
  return Number(body.data.result[0]?.value[1] ?? Number.NaN);
}

test('targets come and go while Prometheus runs, and it keeps what it saw over a restart', async () => {
  const { prometheus } = stack;
  assert.ok(prometheus);
  const itself = new URL(prometheus.url).host;
  prometheus.setTargets([{ targets: [itself], labels: { job: 'itself' } }]);
  const up = 'up{job="itself"}';
  await waitUntil('the target is scraped', async () => (await query(up)) === 1, WITHIN);
  prometheus.setTargets([]);
  await waitUntil('the target is gone', async () => Number.isNaN(await query(up)), WITHIN);
  await prometheus.process.kill('SIGKILL');
  await prometheus.process.start();
  assert.ok((await query(`count_over_time(${up}[10m])`)) >= 1);
});

test('Postgres and Temporal killed and started again know what they knew', async () => {
  const { postgres, temporal, topology } = stack;
  assert.ok(postgres && temporal);
  await runSql(stack.databaseUrl, 'create table kept as select 42 as answer');
  const namespace = topology.namespace.name;
  const connection = await connectTemporal(stack.env);
  const client = new Client({ connection, namespace });
  await client.workflow.start('anything', { taskQueue: 'nobody', workflowId: 'kept' });
  await connection.close();
  await Promise.all([postgres.process.kill('SIGKILL'), temporal.process.kill('SIGKILL')]);
  await Promise.all([postgres.process.start(), temporal.process.start()]);
  assert.deepEqual((await runSql(stack.databaseUrl, 'select answer from kept')).rows, [{ answer: 42 }]);
  const again = await connectTemporal(stack.env);
  try {
    const handle = new Client({ connection: again, namespace }).workflow.getHandle('kept');
    assert.equal((await handle.describe()).status.name, 'RUNNING');
  } finally {
    await again.close();
  }
});
