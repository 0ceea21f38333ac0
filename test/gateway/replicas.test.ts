import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ArmTarget, Route, RouteTable } from '../../domain/routing.ts';
import { inUseNow, publishedEndpoints, replicasOf } from '../../gateway/replicas.ts';

const target = (serving: string, endpoints: string[]): ArmTarget => ({
  revision: `sha256:${serving}`,
  prompt: { system: '', template: '', variables: [], examples: [], parameters: {}, outputSchema: null },
  promptRef: 'p@1',
  model: {
    name: 'm',
    architecture: { layers: 1, kvHeads: 1, headDim: 1, kvBytes: 2, weightsGiB: 1 },
    price: { inputPerMillion: 1, outputPerMillion: 1 },
  },
  servedModel: 'm',
  serving,
  endpoints,
});

function tableOf(stable: ArmTarget, canary: ArmTarget | null = null): RouteTable {
  const route: Route = {
    application: 'support',
    release: null,
    weight: 0,
    stable,
    canary,
    phase: 0,
    scoredShare: 0,
    stratumMs: 1,
    canarySince: null,
  };
  return { generation: 1, routes: { support: route } };
}

const sourceOf = (known: Record<string, string[]>) => ({
  endpointsOf: (serving: string) => known[serving] ?? null,
});

describe('the replicas of a target', () => {
  const stable = target('s', ['http://table']);
  const cases: [
    name: string,
    table: RouteTable | null,
    cluster: Record<string, string[]> | null,
    expected: string[],
  ][] = [
    ["are the table's without a cluster", tableOf(stable), null, ['http://table']],
    [
      "are the cluster's",
      tableOf(stable),
      { s: ['http://pod-1', 'http://pod-2'] },
      ['http://pod-1', 'http://pod-2'],
    ],
    [
      "are the table's when the cluster knows nothing of the serving",
      tableOf(stable),
      { other: ['http://o'] },
      ['http://table'],
    ],
    ['are none when the cluster has no pod that is ready', tableOf(stable), { s: [] }, []],
    [
      'are none once withdrawn, whatever the cluster shows (invariants 2 and 5)',
      tableOf(target('s', [])),
      { s: ['http://pod-1'] },
      [],
    ],
    [
      'of a canary are found too',
      tableOf(target('x', []), target('s', ['http://newer'])),
      null,
      ['http://newer'],
    ],
    [
      'of a request in flight are those it came with when the table has moved on',
      tableOf(target('x', [])),
      null,
      ['http://table'],
    ],
    [
      'of a request in flight are the pods of now',
      tableOf(target('x', [])),
      { s: ['http://pod-1'] },
      ['http://pod-1'],
    ],
    ["are the request's own before there is a table", null, null, ['http://table']],
  ];
  for (const [name, table, cluster, expected] of cases) {
    it(name, () => {
      const source = cluster === null ? null : sourceOf(cluster);
      assert.deepEqual(replicasOf(stable, publishedEndpoints(table), source), expected);
    });
  }
});

it('what is in use are both arms of every route, with the replicas that there are now', () => {
  const table = tableOf(target('s', ['http://table']), target('c', ['http://c']));
  const inUse = inUseNow(table, publishedEndpoints(table), sourceOf({ s: ['http://pod-1', 'http://pod-2'] }));
  assert.deepEqual(Object.fromEntries(inUse), {
    s: new Set(['http://pod-1', 'http://pod-2']),
    c: new Set(['http://c']),
  });
});
