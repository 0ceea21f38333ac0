import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadTopology, parseTopology } from '../../../adapters/temporal/topology.ts';
import { SlipwayError } from '../../../domain/errors.ts';

const good = `
namespace: { name: slipway, retention: 90d }
searchAttributes: { SlipwayApplication: Keyword }
taskQueue:
  name: slipway
  worker:
    maxConcurrentWorkflowTaskExecutions: 40
    maxConcurrentActivityTaskExecutions: 100
    maxCachedWorkflows: 500
    shutdownGraceTime: 10s
localServer:
  dynamicConfig: { history.timerProcessorMaxTimeShift: 10ms }
`;

function refusal(text: string): SlipwayError {
  try {
    parseTopology(text);
  } catch (error) {
    assert.ok(error instanceof SlipwayError, `not a coded error: ${error}`);
    assert.equal(error.code, 'TOPOLOGY_INVALID');
    return error;
  }
  assert.fail('it was not refused');
}

test('durations become milliseconds and the description may be left out', () => {
  const topology = parseTopology(good);
  assert.equal(topology.namespace.retention, 90 * 86_400_000);
  assert.equal(topology.taskQueue.worker.shutdownGraceTime, 10_000);
  assert.equal(topology.namespace.description, '');
});

test('a reaper removes nothing unless it is told to, and both schedules may be left out', () => {
  const text = good.replace('localServer:', 'reaper: { every: 10m, grace: 1h }\nlocalServer:');
  assert.deepEqual(parseTopology(text).reaper, { every: 600_000, grace: 3_600_000, dryRun: true });
  assert.deepEqual([parseTopology(good).reaper, parseTopology(good).sweeper], [undefined, undefined]);
});

test("the repository's own topology carries what releases need", async () => {
  const topology = await loadTopology();
  assert.deepEqual(topology.searchAttributes, {
    SlipwayApplication: 'Keyword',
    SlipwayStage: 'Keyword',
    SlipwayPhase: 'Keyword',
    SlipwayVerdict: 'Keyword',
    SlipwayRevision: 'Keyword',
  });
  assert.deepEqual(topology.sweeper, { every: 60_000, grace: 120_000 });
  assert.deepEqual(topology.reaper, { every: 600_000, grace: 3_600_000, dryRun: true });
  assert.equal(topology.namespace.name, 'slipway');
  assert.equal(topology.taskQueue.name, 'slipway');
  assert.equal(topology.localServer.dynamicConfig['frontend.WorkflowTimeSkippingEnabled'], true);
});

const refusals: [what: string, from: string, to: string, field: string][] = [
  ['an unknown key at the top', 'namespace:', 'namespaces: 1\nnamespace:', 'namespaces'],
  ['an unknown key further in', 'retention: 90d', 'retention: 90d, retain: 3', 'namespace.retain'],
  ['a missing field', 'name: slipway, ', '', 'namespace.name'],
  ['a retention without unit', '90d', '90', 'namespace.retention'],
  ['a retention that is no duration', '90d', 'soon', 'namespace.retention'],
  ['a retention shorter than Temporal takes', '90d', '59m', 'namespace.retention'],
  ['an unknown attribute type', 'Keyword', 'Keywords', 'searchAttributes.SlipwayApplication'],
  [
    'a sweeper with a key too many',
    'localServer:',
    'sweeper: { every: 1m, grace: 2m, dryRun: true }\nlocalServer:',
    'sweeper.dryRun',
  ],
  [
    'a reaper that looks too often',
    'localServer:',
    'reaper: { every: 9s, grace: 1h }\nlocalServer:',
    'reaper.every',
  ],
  ['a reaper without a grace', 'localServer:', 'reaper: { every: 10m }\nlocalServer:', 'reaper.grace'],
  ['no room for workflow tasks', ': 40', ': 1', 'taskQueue.worker.maxConcurrentWorkflowTaskExecutions'],
  ['half a slot', ': 100', ': 0.5', 'taskQueue.worker.maxConcurrentActivityTaskExecutions'],
  ['a name that is no name', 'name: slipway,', "name: 'slip way',", 'namespace.name'],
];

for (const [what, from, to, field] of refusals) {
  test(`${what} is refused by name`, () => {
    const text = good.replace(from, to);
    assert.notEqual(text, good);
    const error = refusal(text);
    assert.equal(error.details.field, field);
    assert.ok(error.details.remedy, 'it says what to do');
    assert.match(error.message, new RegExp(field.replaceAll('.', '\\.')));
  });
}

test('the remedy for a wrong attribute type lists the right ones', () => {
  assert.match(refusal(good.replace('Keyword', 'String')).details.remedy ?? '', /Keyword, KeywordList, Text/);
});

test('what is not YAML, and what is not a mapping, is refused', () => {
  assert.match(refusal('namespace: [').message, /not YAML/);
  refusal('');
  refusal('- a\n- b\n');
  assert.match(refusal(`${good}\nnamespace: { name: twice, retention: 1d }`).message, /not YAML/);
});

test('a file that is not there is refused with its name', async () => {
  await assert.rejects(loadTopology('no/such/temporal.yaml'), {
    code: 'TOPOLOGY_INVALID',
    message: /no\/such/,
  });
});
