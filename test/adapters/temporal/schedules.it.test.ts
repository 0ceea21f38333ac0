import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client } from '@temporalio/client';
import { applyTopology } from '../../../adapters/temporal/apply.ts';
import type { Topology } from '../../../adapters/temporal/topology.ts';
import { startTemporal, type TestTemporal } from '../../support/stack.ts';

let temporal: TestTemporal;
before(async () => {
  temporal = await startTemporal({ bare: true });
});
after(() => temporal.stop());

const sweeper = { every: 60_000, grace: 120_000 };
const reaper = { every: 600_000, grace: 3_600_000, dryRun: true };

/** Applies to a namespace of its own for one test. */
function worldOf(test: string) {
  const { topology, namespace, connection } = temporal;
  const name = `${namespace}-${test}`;
  const base = { ...topology, namespace: { ...topology.namespace, name } };
  return {
    apply: (change: Partial<Topology> = { sweeper, reaper }) =>
      applyTopology({ ...base, ...change }, connection, { localServer: true }),
    client: new Client({ connection, namespace: name }),
  };
}

test('the schedules are made once, each skipping a run while one is under way', async () => {
  const { apply, client } = worldOf('made');
  const { changed, notSet } = await apply();
  assert.deepEqual(changed.slice(-2), [
    'created schedule slipway-sweeper, every 1m with grace 2m',
    'created schedule slipway-reaper, every 10m with grace 1h, dryRun true',
  ]);
  assert.deepEqual(notSet, []);
  assert.deepEqual(await apply(), { changed: [], notSet: [] });
  const { spec, action, policies } = await client.schedule.getHandle('slipway-reaper').describe();
  assert.deepEqual(
    spec.intervals?.map(({ every }) => every),
    [600_000],
  );
  assert.equal(action.workflowType, 'reaper');
  assert.deepEqual(action.args, [{ grace: 3_600_000, dryRun: true }]);
  assert.equal(action.taskQueue, temporal.topology.taskQueue.name);
  assert.deepEqual([policies.overlap, policies.catchupWindow], ['SKIP', 60_000]);
});

test('a change is made and told, and what an operator paused stays paused', async () => {
  const { apply, client } = worldOf('changed');
  await apply();
  const handle = client.schedule.getHandle('slipway-reaper');
  await handle.pause('looking into it');
  assert.deepEqual(await apply(), { changed: [], notSet: [] });
  const { changed } = await apply({ sweeper, reaper: { ...reaper, every: 1_200_000, dryRun: false } });
  assert.deepEqual(changed, [
    'changed schedule slipway-reaper from every 10m with grace 1h, dryRun true' +
      ' to every 20m with grace 1h, dryRun false; it stays paused',
  ]);
  const { state, action, spec } = await handle.describe();
  assert.deepEqual([state.paused, state.note], [true, 'looking into it']);
  assert.deepEqual(action.args, [{ grace: 3_600_000, dryRun: false }]);
  assert.deepEqual(
    spec.intervals?.map(({ every }) => every),
    [1_200_000],
  );
});

test('what somebody changed by hand is put right again', async () => {
  const { apply, client } = worldOf('by-hand');
  await apply();
  await client.schedule.getHandle('slipway-sweeper').update((standing) => ({
    ...standing,
    policies: { ...standing.policies, overlap: 'ALLOW_ALL' as const },
  }));
  assert.equal((await apply()).changed.length, 1);
  const { policies } = await client.schedule.getHandle('slipway-sweeper').describe();
  assert.equal(policies.overlap, 'SKIP');
});

test('a schedule that temporal.yaml no longer has is reported and stays', async () => {
  const { apply, client } = worldOf('left');
  await apply();
  const { changed, notSet } = await apply({ sweeper });
  assert.deepEqual(changed, []);
  assert.deepEqual(
    notSet.map(({ field, why }) => `${field}: ${why}`),
    ['reaper: the server has the schedule slipway-reaper, temporal.yaml does not'],
  );
  await client.schedule.getHandle('slipway-reaper').describe();
});

test('two that apply at the same time make each schedule once', async () => {
  const { apply } = worldOf('race');
  const reports = await Promise.all([apply(), apply()]);
  const created = reports.flatMap(({ changed }) => changed).filter((line) => /created schedule/.test(line));
  assert.equal(created.length, 2);
  assert.deepEqual(await apply(), { changed: [], notSet: [] });
});
