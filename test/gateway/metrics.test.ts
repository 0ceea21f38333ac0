import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { digestOf, shortDigest } from '../../domain/digest.ts';
import { Metrics } from '../../gateway/metrics.ts';
import { sampleOf } from '../support/ledger.ts';
import { exampleModel } from '../support/servings.ts';

const [old, next] = ['old', 'next'].map((name) => digestOf(name)) as [string, string];
const [gone, here] = ['http://10.0.0.1:8000', 'http://10.0.0.2:8000'] as const;
const MINUTE = 60_000;

function observe(metrics: Metrics, revision: string, endpoint: string | null): void {
  metrics.observe(
    sampleOf({ id: 'x', at: 0, revision, endpoint, streamed: true, ttft: 1, tpot: 0.1, cost: 0.1 }),
    {
      revision,
      prompt: { system: '', template: '', variables: [], examples: [], parameters: {}, outputSchema: null },
      promptRef: 'p@1',
      model: exampleModel,
      servedModel: exampleModel.name,
      serving: 's',
      endpoints: [],
    },
  );
}

const score = (metrics: Metrics, revision: string, evaluator: string) =>
  metrics.scored({ request: 'x', application: 'support', revision, arm: 'stable', evaluator, score: 1 });

async function linesWith(metrics: Metrics, ...words: string[]): Promise<number> {
  const text = await metrics.registry.metrics();
  return text.split('\n').filter((line) => words.every((word) => line.includes(word))).length;
}

const inUse = (...revisions: string[]) =>
  new Map(revisions.map((revision) => [shortDigest(revision), new Set([here])]));

describe('series', () => {
  it('of revisions and endpoints that went out of use are dropped after an hour, and no others', async () => {
    const metrics = new Metrics();
    metrics.refused('unauthenticated');
    for (const revision of [old, next]) {
      for (const endpoint of [gone, here, null]) observe(metrics, revision, endpoint);
      metrics.retried(
        { application: 'support', model: 'm', revision, arm: 'stable', endpoint: gone },
        'refused',
      );
      score(metrics, revision, 'judge');
    }
    const words = { old: shortDigest(old), next: shortDigest(next) };
    const before = await linesWith(metrics, '');
    await metrics.forget(inUse(next), 0);
    await metrics.forget(inUse(next), 59 * MINUTE);
    assert.equal(await linesWith(metrics, ''), before);

    await metrics.forget(inUse(next), 60 * MINUTE);
    assert.equal(await linesWith(metrics, words.old), 0);
    assert.equal(await linesWith(metrics, gone), 0);
    for (const endpoint of [here, '']) {
      assert.equal(await linesWith(metrics, 'llm_requests_total{', words.next, `endpoint="${endpoint}"`), 1);
    }
    assert.equal(await linesWith(metrics, 'llm_quality_score_count{', words.next), 1);
    assert.equal(await linesWith(metrics, 'reason="unauthenticated"'), 1);
  });

  it('that come back in time stay, and those that come back later begin anew', async () => {
    const metrics = new Metrics();
    observe(metrics, old, here);
    await metrics.forget(inUse(), 0);
    await metrics.forget(inUse(old), 30 * MINUTE);
    await metrics.forget(inUse(), 61 * MINUTE);
    assert.equal(await linesWith(metrics, 'llm_requests_total{', shortDigest(old), '} 1'), 1);
    await metrics.forget(inUse(), 200 * MINUTE);
    assert.equal(await linesWith(metrics, shortDigest(old)), 0);
    observe(metrics, old, here);
    assert.equal(await linesWith(metrics, 'llm_requests_total{', shortDigest(old), '} 1'), 1);
    // Begun again from zero, as on the first day.
    assert.ok((await linesWith(metrics, 'llm_requests_failed_total{', shortDigest(old), '} 0')) > 0);
  });

  it("stay bounded whatever a tenant's evaluators are called", async () => {
    const metrics = new Metrics();
    for (let i = 0; i < 150; i++) score(metrics, old, `own-${i}`);
    assert.equal(await linesWith(metrics, 'llm_quality_score_count{'), 101);
  });
});
