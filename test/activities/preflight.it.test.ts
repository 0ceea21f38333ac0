import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import { createPreflightActivities, type PreflightDeps } from '../../activities/preflight.ts';
import { createServingActivities } from '../../activities/serving.ts';
import type { Prometheus } from '../../adapters/prometheus/prometheus.ts';
import type { ServingAdapter } from '../../adapters/serving/adapter.ts';
import { createLocalServing, stopAll } from '../../adapters/serving/local/local.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import type { ChecklistItem } from '../../domain/preflight.ts';
import { pushGuardrails } from '../../store/guardrails.ts';
import { listEvents } from '../../store/releases.ts';
import { type Attempt, asAttempt, watched } from '../support/activity.ts';
import { databaseOfFile } from '../support/database.ts';
import { silentLog } from '../support/log.ts';
import { releasesOn, stepOf } from '../support/releases.ts';
import { exampleRuntime, servingSandbox, standIn } from '../support/servings.ts';
import { temporaryFolder } from '../support/stack.ts';

const db = await databaseOfFile();
const releases = releasesOn(db);

/** A place for servings where nothing is to be known before. */
const nowhere: ServingAdapter = createLocalServing({ stateDir: servingSandbox().stateDir, command: standIn });

const check = (release: string, attempt: Attempt = {}, place: Partial<PreflightDeps> = {}) => {
  const { checkPreflight } = createPreflightActivities({ db, adapter: nowhere, log: silentLog, ...place });
  return asAttempt(() => checkPreflight(stepOf(release)), attempt);
};

/** The items as the audit has them. */
async function itemsOf(release: string): Promise<ChecklistItem[]> {
  const event = (await listEvents(db, release)).find(({ kind }) => kind === 'preflight');
  return event?.details.items as ChecklistItem[];
}

/** An application whose stable revision is served. */
async function served(t: TestContext, application: string, flags: Record<string, string | number> = {}) {
  const box = servingSandbox();
  t.after(box.cleanUp);
  const adapter = createLocalServing({ stateDir: box.stateDir, command: standIn });
  const { provideServing } = createServingActivities({ db, adapter, log: silentLog });
  const runtime = exampleRuntime(2, { ...flags, 'served-for': application });
  const stable = await releases.established({ application, runtime }, (release, serving) =>
    watched(() => provideServing({ ...stepOf(release), serving })),
  );
  return { runtime, stable, stateDir: box.stateDir };
}

test('a first release is checked for all but what it cannot have', async () => {
  const { release } = await releases.register({ application: 'first' });
  const { passed, summary } = await check(release);
  assert.equal(passed, true, summary);
  assert.match(summary, /^all 8 checks passed\n/);
  assert.match(summary, /rollback revision named: a first release has nothing to return to/);
  assert.match(summary, /stable serving healthy: a first release has no stable serving/);
  assert.match(
    summary,
    /KV cache fits: 4 requests × 8192 tokens want 4 GiB of KV cache; 1 × A100-80GB leave 55 GiB/,
  );
  assert.equal((await itemsOf(release)).length, 8);
});

test('the 32K × 50 case is refused with its figures and the ways out', async () => {
  const runtime = {
    ...exampleRuntime(1, { 'max-model-len': 32768, 'tensor-parallel-size': 4 }),
    gpu: { kind: 'A100-80GB', memoryGiB: 80, count: 4 },
    concurrency: 50,
  };
  const architecture = { layers: 80, kvHeads: 8, headDim: 128, kvBytes: 2, weightsGiB: 131.5 };
  const model = { name: 'llama-70b', architecture, price: { inputPerMillion: 1, outputPerMillion: 1 } };
  const { release } = await releases.register({ application: 'long', spec: { model }, runtime });
  const { passed, summary } = await check(release);
  assert.equal(passed, false);
  assert.match(
    summary,
    /^1 of 8 checks failed\nKV cache fits: CAPACITY_EXCEEDED: 50 requests × 32768 tokens want 500 GiB/,
  );
  assert.match(
    summary,
    /One of: lower --max-model-len to \d+, and give longer inputs an instance .*; hold 14 concurrent/,
  );
});

test('every item that fails is told, each with its remedy', async () => {
  const evaluation = { ...defaultPolicy.evaluation, goldenSet: 'nothing@1' };
  const runtime = exampleRuntime(1, { 'gpu-memory-utilization': 0.97, 'max-model-len': '200k' });
  const application = 'broken';
  const { release } = await releases.register({ application, policy: { evaluation }, runtime });
  const { passed, summary } = await check(release);
  assert.equal(passed, false);
  assert.match(summary, /^3 of 8 checks failed\n/);
  assert.match(
    summary,
    /golden set exists: GOLDEN_SET_NOT_FOUND: there is no golden set nothing@1\. Name a pushed/,
  );
  assert.match(summary, /KV cache fits: CAPACITY_EXCEEDED/);
  assert.match(summary, /GPU memory: 97 % by the flags, at most 95 %\. Lower --gpu-memory-utilization/);
  const failed = (await itemsOf(release)).filter((item) => !item.passed);
  assert.ok(failed.every(({ remedy }) => remedy !== undefined));
});

test('a guardrail config with a newer version passes with a warning', async () => {
  const { release } = await releases.register({ application: 'outdated' });
  await pushGuardrails(db, { name: 'outdated', content: { input: [], output: [] }, createdBy: 'ada' });
  const { passed, summary } = await check(release);
  assert.equal(passed, true);
  assert.match(
    summary,
    /guardrail config named: outdated@1; warning: outdated@2 is newer; .*violations are not measured/,
  );
});

test('the stable serving must answer; the candidate that shares it is judged by what vLLM says of itself', async (t) => {
  const { runtime } = await served(t, 'served', { 'cache-concurrency': '4.5' });
  const next = await releases.register({ application: 'served', runtime });
  const { passed, summary } = await check(next.release);
  assert.equal(passed, true, summary);
  assert.match(summary, /stable serving healthy: 2 of 2 endpoints answer/);
  assert.match(summary, /KV cache fits: vLLM holds 4\.5 requests at full context, 4 are wanted/);
  assert.match(summary, /GPU memory: 90 % by vLLM itself, at most 95 %/);
  assert.match(summary, /rollback revision named: [0-9a-f]{12} \(served@1\)/);
});

test('a vLLM that holds less than is wanted fails the checklist, whatever the formula says', async (t) => {
  const folder = temporaryFolder();
  t.after(folder.remove);
  const file = join(folder.path, 'metrics');
  const holding = (requests: string): void =>
    writeFileSync(file, `vllm:cache_config_info{kv_cache_max_concurrency="${requests}"} 1.0`);
  holding('4.0');
  const { runtime } = await served(t, 'small', { 'load-file': file });
  holding('3.9');
  const next = await releases.register({ application: 'small', runtime });
  const { passed, summary } = await check(next.release);
  assert.equal(passed, false);
  assert.match(summary, /vLLM holds 3\.9 requests at full context, 4 are wanted\. Lower --max-model-len/);
});

test('a stable serving that does not answer may come back for a while, then it fails the checklist', async (t) => {
  const { runtime, stateDir } = await served(t, 'down');
  const next = await releases.register({ application: 'down', runtime });
  await stopAll(stateDir);
  await assert.rejects(check(next.release, { after: 29_000 }), (error) => {
    assert.ok(error instanceof ApplicationFailure);
    return error.type === 'NOT_YET' && error.message === 'stable serving healthy: 0 of 2 endpoints answer';
  });
  const { passed, summary } = await check(next.release, { after: 30_000 });
  assert.equal(passed, false);
  assert.match(summary, /stable serving healthy: 0 of 2 endpoints answer\. Bring the stable serving back/);
});

test('a route that moved to another revision since the release began has no rollback any more', async () => {
  await releases.established({ application: 'moved' });
  const next = await releases.register({ application: 'moved' });
  await releases.move(next.release, 'promoted', 0);
  const { passed, summary } = await check(next.release, { after: 60_000 });
  assert.equal(passed, false);
  assert.match(
    summary,
    /rollback revision named: [0-9a-f]{12} is not what serves moved now\. Start the release again/,
  );
});

const asksOf = (answers: Record<string, ChecklistItem[]>) => {
  const asked: { serving: string; replicas: number }[] = [];
  const adapter: ServingAdapter = {
    ...nowhere,
    check: async ({ digest }, replicas) => {
      asked.push({ serving: digest, replicas });
      return answers.items ?? [];
    },
  };
  return { adapter, asked };
};

test('what the place of servings says beforehand stands in the checklist, for the replicas of the canary', async () => {
  await releases.established({ application: 'placed' });
  const runtime = exampleRuntime(20, { 'served-for': 'placed' });
  const next = await releases.register({ application: 'placed', runtime });
  const items = [
    { item: 'GPUs of the cluster', passed: false, message: 'none is free', remedy: 'Add nodes' },
  ];
  const { adapter, asked } = asksOf({ items });
  const { passed, summary } = await check(next.release, { after: 60_000 }, { adapter });
  assert.equal(passed, false);
  assert.match(summary, /^\d of 9 checks failed\n/);
  assert.match(summary, /\nGPUs of the cluster: none is free\. Add nodes/);
  assert.deepEqual(
    asked.map(({ replicas }) => replicas),
    [2],
  );
});

test('a first release is checked for all replicas, and a serving that runs already for none', async (t) => {
  const { adapter, asked } = asksOf({});
  const runtime = exampleRuntime(3, { 'served-for': 'fresh' });
  const { release } = await releases.register({ application: 'fresh', runtime });
  await check(release, {}, { adapter });
  assert.deepEqual(
    asked.map(({ replicas }) => replicas),
    [3],
  );
  const running = await served(t, 'shared');
  const next = await releases.register({ application: 'shared', runtime: running.runtime });
  const place = createLocalServing({ stateDir: running.stateDir, command: standIn });
  const unasked = asksOf({});
  await check(next.release, {}, { adapter: { ...place, check: unasked.adapter.check } });
  assert.deepEqual(unasked.asked, []);
});

test('a place that may not even be looked at is told by its checks; one that does not answer is asked again', async () => {
  const { release } = await releases.register({ application: 'hidden' });
  const refusing = (code: 'FORBIDDEN' | 'DEPENDENCY_UNAVAILABLE'): ServingAdapter => ({
    ...nowhere,
    observe: () => Promise.reject(new SlipwayError(code, 'not now')),
    check: async () => [{ item: 'permissions', passed: false, message: 'it may not list', remedy: 'Let it' }],
  });
  const { summary } = await check(release, {}, { adapter: refusing('FORBIDDEN') });
  assert.match(summary, /permissions: it may not list\. Let it/);
  await assert.rejects(check(release, {}, { adapter: refusing('DEPENDENCY_UNAVAILABLE') }), (error) => {
    assert.ok(error instanceof ApplicationFailure);
    assert.equal(error.type, 'DEPENDENCY_UNAVAILABLE');
    return error.nonRetryable !== true;
  });
});

test("the GPUs' driver has the last word on their memory, where it is scraped", async (t) => {
  const { runtime } = await served(t, 'driven');
  const next = await releases.register({ application: 'driven', runtime });
  const prometheus: Prometheus = {
    query: async (promql) => {
      assert.match(promql, /DCGM_FI_DEV_FB_USED\{pod=~"slipway-[0-9a-f]{12}-\.\+"\}/);
      return { kind: 'value', value: 0.972 };
    },
    knows: async () => true,
  };
  const { passed, summary } = await check(next.release, {}, { prometheus });
  assert.equal(passed, false);
  assert.match(
    summary,
    /GPU memory: 97\.2 % by the GPU's driver, at most 95 %\. Lower --gpu-memory-utilization/,
  );
});

test('a serving that is ready is refused when vLLM itself says that it holds too little', async (t) => {
  const box = servingSandbox();
  t.after(box.cleanUp);
  const adapter = createLocalServing({ stateDir: box.stateDir, command: standIn });
  const { provideServing } = createServingActivities({ db, adapter, log: silentLog });
  const runtime = exampleRuntime(1, { 'cache-concurrency': '3.9', 'served-for': 'tight' });
  const { release, candidateServing: serving } = await releases.register({ application: 'tight', runtime });
  await assert.rejects(
    watched(() => provideServing({ ...stepOf(release), serving })),
    (error) => {
      assert.ok(error instanceof ApplicationFailure);
      assert.equal(error.type, 'CAPACITY_EXCEEDED');
      assert.match(error.message, /vLLM holds 3\.9 requests at full context, 4 are wanted/);
      return error.nonRetryable === true;
    },
  );
});
