import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Client } from '@temporalio/client';
import { defineSearchAttributeKey, SearchAttributeType, TypedSearchAttributes } from '@temporalio/common';
import { applyTopology } from '../../../adapters/temporal/apply.ts';
import type { Topology } from '../../../adapters/temporal/topology.ts';
import { waitUntil } from '../../../deploy/local/probe.ts';
import { PATIENCE_MS } from '../../support/patience.ts';
import { startTemporal, type TestTemporal } from '../../support/stack.ts';

let temporal: TestTemporal;
before(async () => {
  temporal = await startTemporal({ bare: true });
});
after(() => temporal.stop());

/** The topology with a namespace of its own for one test. */
function topologyFor(test: string, change: Partial<Topology> = {}): Topology {
  const { topology, namespace } = temporal;
  return { ...topology, ...change, namespace: { ...topology.namespace, name: `${namespace}-${test}` } };
}

test('a new server is made to match, and applying again changes nothing', async () => {
  const topology = topologyFor('twice');
  const first = await applyTopology(topology, temporal.connection, { localServer: true });
  assert.deepEqual(first.changed, [
    `created namespace ${topology.namespace.name} with retention 90d`,
    ...Object.keys(topology.searchAttributes).map((name) => `added search attribute ${name} (Keyword)`),
  ]);
  assert.deepEqual(first.notSet, []);
  const second = await applyTopology(topology, temporal.connection, { localServer: true });
  assert.deepEqual(second, { changed: [], notSet: [] });
});

test('what was applied is usable at once and leaves no workflow behind', async () => {
  const topology = topologyFor('usable');
  const { connection } = temporal;
  await applyTopology(topology, connection);
  const client = new Client({ connection, namespace: topology.namespace.name });
  const key = defineSearchAttributeKey('SlipwayStage', SearchAttributeType.KEYWORD);
  const handle = await client.workflow.start('anything', {
    taskQueue: 'nobody',
    workflowId: 'carrier',
    typedSearchAttributes: new TypedSearchAttributes([{ key, value: 'canary' }]),
  });
  const described = await handle.describe();
  assert.equal(described.typedSearchAttributes.get(key), 'canary');
  await handle.terminate();
  // The server deletes in its own time.
  await waitUntil(
    'the probe is deleted',
    async () => (await client.workflow.count(`WorkflowType != 'anything'`)).count === 0,
    { timeoutMs: PATIENCE_MS },
  );
});

test('a changed retention is set, and the server says so', async () => {
  const topology = topologyFor('retention');
  const { connection } = temporal;
  await applyTopology(topology, connection);
  const longer = { ...topology, namespace: { ...topology.namespace, retention: 100 * 86_400_000 } };
  const report = await applyTopology(longer, connection, { localServer: true });
  assert.deepEqual(report.changed, [
    `changed retention of namespace ${topology.namespace.name} from 90d to 100d`,
  ]);
  const { config } = await connection.workflowService.describeNamespace({
    namespace: topology.namespace.name,
  });
  assert.equal(Number(config?.workflowExecutionRetentionTtl?.seconds), 100 * 86_400);
});

test('what it cannot set is reported: another type, a removed attribute, a remote dynamic config', async () => {
  const topology = topologyFor('conflicts');
  const { connection } = temporal;
  await applyTopology(topology, connection);
  const { SlipwayRevision: _removed, ...kept } = topology.searchAttributes;
  const changed = {
    ...topology,
    searchAttributes: { ...kept, SlipwayStage: 'Int' as const, SlipwayNew: 'Bool' as const },
  };
  const report = await applyTopology(changed, connection);
  assert.deepEqual(report.changed, ['added search attribute SlipwayNew (Bool)']);
  const fields = report.notSet.map(({ field, why }) => `${field}: ${why}`);
  assert.deepEqual(fields.slice(0, 2), [
    'searchAttributes.SlipwayStage: the server has it as Keyword, not Int',
    'searchAttributes.SlipwayRevision: the server has it, temporal.yaml does not',
  ]);
  const dynamic = Object.keys(topology.localServer.dynamicConfig);
  assert.deepEqual(
    report.notSet.slice(2).map(({ field }) => field),
    dynamic.map((key) => `localServer.dynamicConfig.${key}`),
  );
});

test('every attribute type can be added, carried and found', async () => {
  const searchAttributes = {
    AKeyword: 'Keyword',
    AList: 'KeywordList',
    AText: 'Text',
    AnInt: 'Int',
    ADouble: 'Double',
    ABool: 'Bool',
    ADatetime: 'Datetime',
  } as const;
  const report = await applyTopology(topologyFor('types', { searchAttributes }), temporal.connection);
  assert.equal(report.changed.length, 8);
});

test('two that apply at the same time both end with a matching server', async () => {
  const topology = topologyFor('race');
  const apply = () => applyTopology(topology, temporal.connection, { localServer: true });
  const reports = await Promise.all([apply(), apply()]);
  for (const { notSet } of reports) assert.deepEqual(notSet, []);
  assert.deepEqual(await apply(), { changed: [], notSet: [] });
});
