import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf } from '../../domain/digest.ts';
import { guardQueries } from '../../domain/guards.ts';
import { guardMetrics } from '../../domain/policy/policy.ts';
import type { ArmTarget } from '../../domain/routing.ts';
import { Metrics } from '../../gateway/metrics.ts';
import type { SampleRecord } from '../../store/ledger.ts';
import { exampleModel } from '../support/servings.ts';

const revision = digestOf('revision');

const target: ArmTarget = {
  revision,
  prompt: { system: '', template: '', variables: [], examples: [], parameters: {}, outputSchema: null },
  promptRef: 'p@1',
  model: exampleModel,
  servedModel: exampleModel.name,
  serving: 'sha256:s',
  endpoints: [],
};

const answered: SampleRecord = {
  id: '01939b9c-0000-7000-8000-000000000000',
  at: 0,
  tenant: 'acme',
  application: 'support-answers',
  release: 'r1',
  arm: 'canary',
  user: 'u1',
  stratum: 0,
  revision,
  endpoint: 'http://127.0.0.1:1',
  status: 200,
  reason: null,
  failed: false,
  interrupted: false,
  streamed: true,
  finishReason: 'stop',
  violations: 0,
  latency: 1,
  ttft: 0.2,
  tpot: 0.01,
  cost: 0.001,
  promptTokens: 10,
  completionTokens: 10,
  cachedTokens: 0,
  scoring: null,
};

/** Every series that a query asks for, as its name and the labels that it must have. */
function seriesOf(query: string): { name: string; labels: [string, RegExp][] }[] {
  return [...query.matchAll(/(llm_\w+)\{(.*?)\}\[/g)].map(([, name = '', labels = '']) => ({
    name,
    labels: [...labels.matchAll(/(\w+)(=~?)"(.*?)"/g)].map(([, label = '', , value = '']) => [
      label,
      new RegExp(`${label}="${value}"`),
    ]),
  }));
}

test('what the guards ask for is what the gateway says of a request, by name and by labels', async () => {
  const metrics = new Metrics();
  metrics.observe(answered, target);
  const lines = (await metrics.registry.metrics()).split('\n');
  for (const metric of guardMetrics) {
    const asked = guardQueries(metric, { application: 'support-answers', arm: 'canary', revision }, 60_000);
    const queries = [asked.requests, asked.value, asked.population?.requests ?? ''].join(' ');
    const series = seriesOf(queries);
    assert.ok(series.length >= 2, metric);
    for (const { name, labels } of series) {
      const found = lines.filter((line) => line.startsWith(`${name}{`));
      assert.equal(labels.length, 3);
      const fits = found.some((line) => labels.every(([, pattern]) => pattern.test(line)));
      assert.ok(fits, `${metric} asks for ${name}, the gateway has\n${found.slice(0, 3).join('\n')}`);
    }
  }
});
