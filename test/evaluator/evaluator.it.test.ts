import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Writable } from 'node:stream';
import { after, before, beforeEach, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import pino from 'pino';
import { createJudge } from '../../adapters/judge/autoevals.ts';
import { type EvaluatorOptions, startEvaluator } from '../../evaluator/evaluator.ts';
import { createMetrics } from '../../evaluator/metrics.ts';
import { scoreRound } from '../../evaluator/round.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { attachScores, recordBatch } from '../../store/ledger.ts';
import { claimAnswers, countQueuedAnswers } from '../../store/scoring-queue.ts';
import { idOf, sampleOf } from '../support/ledger.ts';
import { type ModelEndpoint, type Reply, startModelEndpoint } from '../support/model-endpoint.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';

let postgres: TestPostgres;
let db: Database;
let endpoint: ModelEndpoint;
let reply: (question: string) => Reply | Promise<Reply> = () => ({ choice: 'Y' });
const told: string[] = [];

before(async () => {
  postgres = await startPostgres();
  db = openDatabase(postgres.url);
  endpoint = await startModelEndpoint(({ messages }) => reply(messages[0]?.content ?? ''));
});
after(async () => {
  await endpoint.stop();
  await db.end();
  await postgres.stop();
});
beforeEach(async () => {
  await db.query('delete from scoring_queue');
  await db.query('delete from scores');
  endpoint.asked.length = 0;
  told.length = 0;
  reply = () => ({ choice: 'Y' });
});

let batches = 0;
/** So many answers, alternating between the arms, whose texts name them. */
async function answer(count: number): Promise<string[]> {
  batches += 1;
  const records = Array.from({ length: count }, (_, i) => {
    const name = `${batches}-${i}`;
    const arm = i % 2 === 0 ? 'stable' : 'canary';
    return sampleOf({
      id: idOf(name),
      at: Date.now(),
      release: 'r1',
      arm,
      user: `user-${name}`,
      revision: `sha256:${arm}${'0'.repeat(12)}`,
      scoring: { input: `secret question ${name}`, output: `secret answer ${name}` },
    });
  });
  await recordBatch(db, records);
  return records.map((record) => record.id);
}

function start(changes: Partial<EvaluatorOptions> = {}) {
  const sink = new Writable({
    write: (chunk, _encoding, done) => {
      told.push(String(chunk));
      done();
    },
  });
  const judge = createJudge({ url: `${endpoint.url}/v1`, model: 'j', timeoutMs: PATIENCE_MS });
  return startEvaluator({ db, judge, log: pino(sink), ...changes });
}

const scores = async () =>
  (
    await db.query<{ request: string; score: number; evaluator: string }>(
      'select request_id as request, score, evaluator from scores where batch is not null order by request_id',
    )
  ).rows;

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await delay(20);
  }
}
const attemptsOf = async (request = '') => {
  const { rows } = await db.query<{ attempts: number }>(
    'select attempts from scoring_queue where request_id = $1',
    [request],
  );
  return rows[0]?.attempts;
};
const drained = async () => (await countQueuedAnswers(db)) === 0;

test('every queued answer gets its score once, and its texts are forgotten', async () => {
  reply = (question) => ({ choice: /answer \d+-[0-4]\b/.test(question) ? 'N' : 'Y' });
  const ids = await answer(60);
  const evaluator = await start();
  await until('the queue is empty', drained);
  await evaluator.stop();
  const found = await scores();
  assert.deepEqual(
    found.map((score) => score.request),
    [...ids].sort(),
  );
  assert.equal(found.filter((score) => score.score === 0).length, 5);
  assert.ok(found.every((score) => score.evaluator === 'judge'));
  assert.equal(endpoint.asked.length, 60);
});

test('invariant 12: the judge is told question, answer and criterion, and nothing of arm, revision or release', async () => {
  await answer(2);
  const evaluator = await start({ criteria: 'It is polite.' });
  await until('the queue is empty', drained);
  await evaluator.stop();
  for (const asked of endpoint.asked) {
    const text = JSON.stringify(asked);
    assert.match(text, /secret question/);
    assert.match(text, /secret answer/);
    assert.match(text, /It is polite\./);
    assert.doesNotMatch(text, /stable|canary|sha256|r1|support|user-/);
  }
});

test('invariant 13: scores are measured by revision and arm, and neither metrics nor logs hold a text', async () => {
  await answer(4);
  const evaluator = await start();
  await until('the queue is empty', drained);
  const metrics = await (await fetch(`${evaluator.url}/metrics`)).text();
  assert.match(
    metrics,
    /llm_quality_score_count\{evaluator="judge",application="support",revision="canary000000",arm="canary"\} 2/,
  );
  assert.equal((await fetch(`${evaluator.url}/health`)).status, 200);
  reply = () => ({ status: 500 });
  await answer(2);
  await until('a failure is told', () => told.length > 0);
  await evaluator.stop();
  assert.doesNotMatch(metrics + told.join(), /secret/);
});

test('while the judge is down answers wait, and nothing is lost', async () => {
  reply = () => ({ status: 503 });
  const ids = await answer(10);
  // What failed comes again after 10 s: the test does not wait for it.
  const hurry = setInterval(() => void db.query('update scoring_queue set claimed_until = null'), 100);
  const evaluator = await start();
  await until('the judge was asked', () => endpoint.asked.length >= 4);
  assert.deepEqual(await scores(), []);
  assert.equal(await countQueuedAnswers(db), 10);
  reply = () => ({ choice: 'Y' });
  await until('the queue is empty', drained);
  clearInterval(hurry);
  await evaluator.stop();
  assert.deepEqual(
    (await scores()).map((score) => score.request),
    [...ids].sort(),
  );
});

test('in an outage the round ends: what failed comes again later, what was not asked at once', async () => {
  await answer(4);
  let asked = 0;
  const judge = {
    score: async () => {
      asked += 1;
      if (asked === 2) throw new Error('no judgement');
      return { score: 1, rationale: null };
    },
  };
  const { signal } = new AbortController();
  const round = { db, judge, name: 'judge', criteria: 'x', concurrency: 1, claimMs: 60_000, signal };
  const result = await scoreRound({ ...round, metrics: createMetrics() });
  assert.deepEqual([result.claimed, result.outage?.message, asked], [4, 'no judgement', 2]);
  assert.equal((await scores()).length, 1);
  const left = await claimAnswers(db, { limit: 10, claimMs: 1 });
  assert.deepEqual([left.length, await countQueuedAnswers(db)], [2, 3]);
});

test('an answer that the judge refuses holds up no other, and is set aside after three times, visibly', async () => {
  reply = (question) => (/answer \d+-1\b/.test(question) ? { status: 400 } : { choice: 'Y' });
  const ids = await answer(40);
  const evaluator = await start({ concurrency: 2 });
  await until('all others are scored', async () => (await scores()).length === 39);
  assert.equal(endpoint.asked.length, 40, 'one refusal ends no round');
  // What was refused comes again after 10 s, beside a new answer or alone: the test does not wait for it.
  await until('it is refused once', async () => (await attemptsOf(ids[1])) === 1);
  await answer(1);
  await db.query('update scoring_queue set claimed_until = null where request_id = $1', [ids[1]]);
  await until('it is refused twice', async () => (await attemptsOf(ids[1])) === 2);
  await db.query('update scoring_queue set claimed_until = null where request_id = $1', [ids[1]]);
  await until('it is set aside, as nothing else is', drained);
  const metrics = await (await fetch(`${evaluator.url}/metrics`)).text();
  await evaluator.stop();
  const labels = 'evaluator="judge",application="support",revision="canary000000",arm="canary"';
  assert.ok(metrics.includes(`llm_scoring_set_aside_total{${labels}} 1`), metrics);
  assert.equal(told.filter((line) => line.includes('answers stay unscored')).length, 1);
  assert.doesNotMatch(told.join(), /secret/);
  assert.equal((await scores()).length, 40);
});

test('a judge that refuses everything is set up wrongly: no answer is set aside for it', async () => {
  reply = () => ({ status: 400 });
  await answer(3);
  const judge = createJudge({ url: `${endpoint.url}/v1`, model: 'j' });
  const { signal } = new AbortController();
  const round = { db, judge, name: 'judge', criteria: 'x', concurrency: 2, claimMs: 60_000, signal };
  for (let tries = 0; tries < 5; tries += 1) {
    await db.query('update scoring_queue set claimed_until = null');
    const { outage, setAside } = await scoreRound({ ...round, metrics: createMetrics() });
    assert.deepEqual([outage?.message, setAside], ['the judge answered 400', []]);
  }
  assert.equal(await countQueuedAnswers(db), 3);
});

test('a score that is there stays, whatever the judge says later', async () => {
  const [first = ''] = await answer(1);
  await attachScores(db, [{ request: first, evaluator: 'judge', score: 0.25 }]);
  const evaluator = await start();
  await until('the queue is empty', drained);
  const metrics = await (await fetch(`${evaluator.url}/metrics`)).text();
  await evaluator.stop();
  assert.deepEqual(
    (await scores()).map((score) => score.score),
    [0.25],
  );
  assert.doesNotMatch(metrics, /llm_quality_score_count\{/);
});

test('answers that waited too long are dropped, counted and told', async () => {
  await answer(3);
  await db.query(
    `update scoring_queue set enqueued_at = now() - interval '2 days', claimed_until = now() + interval '1 day'`,
  );
  const evaluator = await start();
  await until('the queue is empty', drained);
  await until('the drop is told', () => told.some((line) => line.includes('"dropped":3')));
  const metrics = await (await fetch(`${evaluator.url}/metrics`)).text();
  await evaluator.stop();
  assert.match(metrics, /llm_scoring_dropped_total\{application="support"\} 3/);
  assert.deepEqual(await scores(), []);
});

test('stopping breaks off what runs and gives it back at once', async () => {
  reply = () => 'hang';
  await answer(5);
  const evaluator = await start();
  await until('the judge is asked', () => endpoint.asked.length > 0);
  await evaluator.stop();
  const { rows } = await db.query(
    'select from scoring_queue where claimed_until is null or claimed_until <= now()',
  );
  assert.equal(rows.length, 5);
});

test('claims that race take different answers', async () => {
  await answer(100);
  for (let round = 0; round < 5; round += 1) {
    await db.query('update scoring_queue set claimed_until = null');
    const claims = await Promise.all(
      Array.from({ length: 10 }, () => claimAnswers(db, { limit: 10, claimMs: 60_000 })),
    );
    const requests = claims.flat().map(({ request }) => request);
    assert.equal(new Set(requests).size, requests.length);
  }
});

test('two evaluators share the queue', async () => {
  await answer(80);
  const evaluators = [await start(), await start()];
  await until('the queue is empty', drained);
  await Promise.all(evaluators.map((evaluator) => evaluator.stop()));
  assert.equal((await scores()).length, 80);
  assert.equal(endpoint.asked.length, 80);
});

test('invariant 6: an evaluator that is killed in the middle loses no answer and scores none twice', async () => {
  const ids = await answer(60);
  let judged = 0;
  reply = () => {
    judged += 1;
    return judged > 25 ? 'hang' : { choice: 'Y' };
  };
  const env = {
    ...process.env,
    DATABASE_URL: postgres.url,
    SLIPWAY_JUDGE_URL: `${endpoint.url}/v1`,
    SLIPWAY_JUDGE_MODEL: 'j',
    SLIPWAY_EVALUATOR_CONCURRENCY: '2',
    SLIPWAY_EVALUATOR_PORT: '0',
  };
  const child = spawn(process.execPath, ['evaluator/main.ts'], {
    env,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  // In both of its lanes: one that does not hang yet may be writing scores, which come in after its death.
  await until('it hangs in the middle', () => judged >= 27);
  child.kill('SIGKILL');
  await once(child, 'exit');
  const before = await scores();
  assert.ok(before.length > 0 && before.length < 60, `${before.length} scores`);

  reply = () => ({ choice: 'N' });
  await db.query('update scoring_queue set claimed_until = now() where claimed_until is not null');
  const evaluator = await start();
  await until('the queue is empty', drained);
  await evaluator.stop();
  const found = await scores();
  assert.deepEqual(
    found.map((score) => score.request),
    [...ids].sort(),
  );
  assert.equal(found.filter((score) => score.score === 1).length, before.length);
  const { rows } = await db.query<{ n: number }>(
    `select sum(n)::int as n from user_scores where evaluator = 'judge' and user_id in
       (select user_id from samples where id = any($1::uuid[]))`,
    [ids],
  );
  assert.equal(rows[0]?.n, 60);
});

test('the process ends cleanly when it is told to, and says what it lacks', async () => {
  const env = { PATH: process.env.PATH, DATABASE_URL: postgres.url };
  const lacking = spawn(process.execPath, ['evaluator/main.ts'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  lacking.stdout.on('data', (chunk) => {
    output += chunk;
  });
  assert.equal((await once(lacking, 'close'))[0], 1);
  assert.match(output, /SLIPWAY_JUDGE_URL is not set/);

  const judge = {
    SLIPWAY_JUDGE_URL: `${endpoint.url}/v1`,
    SLIPWAY_JUDGE_MODEL: 'j',
    SLIPWAY_EVALUATOR_PORT: '0',
  };
  const child = spawn(process.execPath, ['evaluator/main.ts'], {
    env: { ...env, ...judge },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGTERM');
  assert.equal((await once(child, 'exit'))[0], 0);
});
