import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import pino from 'pino';
import {
  createEvaluationActivities,
  type EvaluationDeps,
  evaluateRelease,
} from '../../activities/evaluation.ts';
import { createJudge } from '../../adapters/judge/autoevals.ts';
import { type Judge, type Judgeable, UnjudgeableError } from '../../adapters/judge/judge.ts';
import { createAskEndpoint } from '../../adapters/vllm/ask.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { parseGoldenSet } from '../../domain/evaluation/golden.ts';
import { parseGuardrailsContent } from '../../domain/guardrails/guardrails.ts';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import { parsePromptFile } from '../../domain/prompt/parse.ts';
import { makeRevision } from '../../domain/revision.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { listCaseResults } from '../../store/evaluations.ts';
import { pushGoldenSet } from '../../store/golden-sets.ts';
import { pushGuardrails } from '../../store/guardrails.ts';
import { pushPrompt } from '../../store/prompts.ts';
import { getRelease, loadSpec, saveSpec } from '../../store/releases.ts';
import { saveRevision } from '../../store/revisions.ts';
import { publishEndpoints } from '../../store/routes.ts';
import { saveServing } from '../../store/servings.ts';
import { asAttempt } from '../support/activity.ts';
import { type ModelEndpoint, type Reply, startModelEndpoint } from '../support/model-endpoint.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { stepOf } from '../support/releases.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';

let postgres: TestPostgres;
let db: Database;
const endpoints: ModelEndpoint[] = [];

before(async () => {
  postgres = await startPostgres();
  db = openDatabase(postgres.url);
});
after(async () => {
  await Promise.all(endpoints.map((endpoint) => endpoint.stop()));
  await db.end();
  await postgres.stop();
});

async function endpointThat(reply: Parameters<typeof startModelEndpoint>[0]): Promise<ModelEndpoint> {
  const endpoint = await startModelEndpoint(reply);
  endpoints.push(endpoint);
  return endpoint;
}

const questions = (count: number, assertion = '{type: contains, value: yes}') =>
  Array.from({ length: count }, (_, i) => `- {vars: {input: "q${i}"}, assert: [${assertion}]}`).join('\n');

const plainPrompt = '---\nname: p\nsystem: Be kind.\nparameters: {temperature: 0.3}\n---\nQ: {{input}}';

let releases = 0;
/** A registered release whose candidate serves at these endpoints; on a fresh application, so that it may be active. */
async function releaseOf(
  golden: string,
  urls: string[],
  { prompt = plainPrompt, minAccuracy = 0.85, maxP95 = PATIENCE_MS } = {},
): Promise<string> {
  releases += 1;
  const release = `r${releases}`;
  const createdBy = 'ada';
  const pushed = await pushPrompt(db, { name: release, content: parsePromptFile(prompt).content, createdBy });
  const set = await pushGoldenSet(db, { name: release, content: parseGoldenSet(golden).content, createdBy });
  const guardrails = await pushGuardrails(db, {
    name: release,
    content: parseGuardrailsContent({}),
    createdBy,
  });
  const model = {
    name: 'tiny',
    architecture: { layers: 1, kvHeads: 1, headDim: 1, kvBytes: 2, weightsGiB: 1 },
    price: { inputPerMillion: 1, outputPerMillion: 1 },
  };
  const runtime = { flags: {}, gpu: { kind: 'x', memoryGiB: 1, count: 1 }, concurrency: 1, replicas: 1 };
  const revision = makeRevision({ prompt: pushed, model, runtime, guardrails, dedicatedTo: release });
  await saveServing(db, { digest: revision.serving, model, runtime, dedicatedTo: release });
  await publishEndpoints(db, revision.serving, urls);
  await saveRevision(db, revision);
  const evaluation = { goldenSet: `${set.name}@${set.version}`, minAccuracy, maxP95 };
  const spec = await saveSpec(db, {
    application: release,
    prompt: `${pushed.name}@${pushed.version}`,
    policy: { ...defaultPolicy, evaluation },
  });
  await db.query('insert into applications (name) values ($1)', [release]);
  await db.query(
    `insert into releases (id, application, workflow_id, requester, spec, candidate) values ($1, $1, $1, 'ada', $2, $3)`,
    [release, spec, revision.digest],
  );
  return release;
}

function evaluate(release: string, changes: Partial<EvaluationDeps> = {}, triedFor = 0) {
  const said: string[] = [];
  const deps = { db, ask: createAskEndpoint(), judge: null, log: pino({ enabled: false }), ...changes };
  const progress = (text: string) => said.push(text);
  const watch = { progress, signal: new AbortController().signal, triedFor };
  return evaluateRelease(deps, release, watch).then((result) => ({ ...result, said }));
}

const retryable = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Error && !(error instanceof SlipwayError));
  assert.match(error.message, pattern);
  assert.notEqual((error as { nonRetryable?: boolean }).nonRetryable, true);
  return true;
};

test('the golden set is asked of the serving as the gateway would ask it, and its share of right answers is the accuracy', async () => {
  const endpoint = await endpointThat(({ messages }) =>
    messages.at(-1)?.content === 'Q: q3' ? 'no' : 'yes!',
  );
  const { summary, said } = await evaluate(await releaseOf(questions(20), [endpoint.url]));
  assert.deepEqual(
    { ...summary, p95Ms: 0, reason: '' },
    { passed: true, accuracy: 0.95, cases: 20, failures: 1, p95Ms: 0, reason: '' },
  );
  assert.match(summary.reason, /^19 of 20 cases passed \(95\.0 %\), p95 \d+ ms$/);
  assert.equal(said.at(-1), '20 of 20 cases');
  assert.equal(endpoint.asked.length, 20);
  const asked = endpoint.asked.find(({ messages }) => messages[1]?.content === 'Q: q0');
  assert.deepEqual(asked, {
    model: 'tiny',
    temperature: 0.3,
    messages: [
      { role: 'system', content: 'Be kind.' },
      { role: 'user', content: 'Q: q0' },
    ],
  });
});

test('an accuracy of just the minimum does not pass', async () => {
  const wrong = new Set(['Q: q0', 'Q: q1', 'Q: q2']);
  const endpoint = await endpointThat(({ messages }) =>
    wrong.has(messages[1]?.content ?? '') ? 'no' : 'yes',
  );
  const { summary } = await evaluate(await releaseOf(questions(20), [endpoint.url]));
  assert.equal(summary.accuracy, 0.85);
  assert.equal(summary.passed, false);
  assert.match(summary.reason, /accuracy must be more than 85\.0 %/);
});

test('answers that are right and too slow do not pass', async () => {
  const endpoint = await endpointThat(async () => {
    await new Promise((resolve) => setTimeout(resolve, 30));
    return 'yes';
  });
  const { summary } = await evaluate(await releaseOf(questions(4), [endpoint.url], { maxP95: 20 }));
  assert.equal(summary.accuracy, 1);
  assert.equal(summary.passed, false);
  assert.match(summary.reason, /p95 must be below 20 ms/);
});

test('an endpoint that goes down is no wrong answer: the evaluation goes on where it was, and asks nothing twice', async () => {
  let down = false;
  let answered = 0;
  const endpoint = await endpointThat((): Reply => {
    if (down) return { status: 503 };
    answered += 1;
    if (answered === 7) down = true;
    return 'yes';
  });
  const release = await releaseOf(questions(20), [endpoint.url]);
  await assert.rejects(evaluate(release, { concurrency: 1 }), retryable(/7 of 20 cases; .* answered 503/));
  assert.equal(endpoint.asked.length, 8);
  await assert.rejects(evaluate(release), retryable(/7 of 20 cases/));
  down = false;
  answered = 100;
  const resumed = await evaluate(release);
  assert.equal(resumed.summary.accuracy, 1);
  assert.equal(answered, 113);
  const before = endpoint.asked.length;
  const again = await evaluate(release);
  assert.equal(endpoint.asked.length, before);
  assert.deepEqual([again.digest, again.summary], [resumed.digest, resumed.summary]);
});

test('a replica that is down is passed over; with none left the case is not counted', async () => {
  const dead = await startModelEndpoint(() => 'yes');
  await dead.stop();
  const endpoint = await endpointThat(() => 'yes');
  const { summary } = await evaluate(await releaseOf(questions(3), [dead.url, endpoint.url]));
  assert.equal(summary.passed, true);
  await assert.rejects(
    evaluate(await releaseOf(questions(3), [dead.url])),
    retryable(/0 of 3 cases; .* does not answer/),
  );
  await assert.rejects(evaluate(await releaseOf(questions(3), [])), retryable(/no replica/));
});

test('a request that the engine refuses is a case that failed, with its reason', async () => {
  const endpoint = await endpointThat(() => ({ status: 400 }));
  const release = await releaseOf(questions(2), [endpoint.url]);
  const { summary } = await evaluate(release);
  assert.deepEqual([summary.passed, summary.failures], [false, 2]);
  const results = await listCaseResults(db, release);
  assert.match(results.get(0)?.verdict?.reasons[0] ?? '', /refused the request: 400/);
});

test('a rubric is judged by the judge; its outage loses no answer', async () => {
  const endpoint = await endpointThat(({ messages }) => `kind answer to ${messages.at(-1)?.content}`);
  let judgeDown = true;
  const judging = await endpointThat(({ messages }) => {
    if (judgeDown) return { status: 500 };
    return { choice: messages[0]?.content.includes('kind answer to Q: q0') ? 'N' : 'Y', reasons: 'because' };
  });
  const judge = createJudge({ url: `${judging.url}/v1`, model: 'j', reasons: true });
  const release = await releaseOf(questions(5, '{type: llm-rubric, value: is kind}'), [endpoint.url], {
    minAccuracy: 0.5,
  });
  await assert.rejects(evaluate(release), retryable(/SLIPWAY_JUDGE_URL/));
  assert.equal(endpoint.asked.length, 0);
  await assert.rejects(evaluate(release, { judge, concurrency: 5 }), retryable(/the judge answered 500/));
  const { maxAge } = defaultPolicy.canary;
  await assert.rejects(
    evaluate(release, { judge }, maxAge - 1),
    (error) => error instanceof ApplicationFailure && error.category === ApplicationFailureCategory.BENIGN,
  );
  for (const silent of [{ judge }, { judge: null }]) {
    await assert.rejects(evaluate(release, silent, maxAge), (error) => {
      assert.ok(error instanceof SlipwayError);
      assert.equal(error.code, 'NOT_MEASURABLE');
      assert.match(error.message, /could not be evaluated for 1 d: .*judge/);
      return true;
    });
  }
  judgeDown = false;
  const { summary } = await evaluate(release, { judge });
  assert.deepEqual([summary.passed, summary.accuracy], [true, 0.8]);
  assert.equal(endpoint.asked.length, 5);
  const results = await listCaseResults(db, release);
  assert.deepEqual(results.get(0)?.verdict?.reasons, ['llm-rubric: scored 0, needs 0.5: because']);
});

test('an answer that the judge never has a judgement of ends the release with the case; one bad judgement does not', async () => {
  const endpoint = await endpointThat(() => 'an answer');
  const release = await releaseOf(questions(2, '{type: llm-rubric, value: is kind}'), [endpoint.url]);
  let unreadable = 5;
  const judge: Judge = {
    score: async ({ input }) => {
      if (input === 'q1' && unreadable-- > 0) throw new UnjudgeableError('no judgement that can be read');
      return { score: 1, rationale: null };
    },
  };
  await assert.rejects(evaluate(release, { judge, concurrency: 1 }), (error) => {
    assert.ok(error instanceof SlipwayError);
    assert.deepEqual([error.code, error.details.field], ['NOT_MEASURABLE', 'cases[1].assert']);
    assert.match(error.message, /^case 2 of the golden set cannot be judged: no judgement that can be read/);
    return true;
  });
  unreadable = 4;
  assert.equal((await evaluate(release, { judge })).summary.passed, true);
});

test('the judge is told question, answer and criteria, once for each answer', async () => {
  const endpoint = await endpointThat(({ messages }) => `answer to ${messages.at(-1)?.content}`);
  const asked: Judgeable[] = [];
  const judge: Judge = {
    async score(answer) {
      asked.push(answer);
      return { score: 1, rationale: null };
    },
  };
  const release = await releaseOf(questions(2, '{type: llm-rubric, value: is kind}'), [endpoint.url]);
  const { digest } = await evaluate(release, { judge, concurrency: 1 });
  const judged = ['q0', 'q1'].map((input) => ({
    input,
    output: `answer to Q: ${input}`,
    criteria: 'is kind',
  }));
  assert.deepEqual(asked, judged);
  assert.equal((await evaluate(release, { judge })).digest, digest);
  assert.equal(asked.length, 2);
});

test('a case with a threshold passes with a part of its assertions, and one without with all of them', async () => {
  const endpoint = await endpointThat(() => 'yes');
  const half = 'assert: [{type: contains, value: yes}, {type: contains, value: no}]';
  const golden = ['threshold: 0.5, ', 'threshold: 0.6, ', ''].map(
    (at) => `- {vars: {input: a}, ${at}${half}}`,
  );
  const { summary } = await evaluate(await releaseOf(golden.join('\n'), [endpoint.url]));
  assert.equal(summary.failures, 2);
});

test('the digest is of the candidate, the golden set, the policy and every result', async () => {
  const endpoint = await endpointThat(() => 'yes');
  const release = await releaseOf(questions(2), [endpoint.url]);
  const digests = [(await evaluate(release)).digest];
  const [{ candidate, spec }, again] = [await getRelease(db, release), await releaseOf(questions(2), [])];
  const { policy, ...rest } = await loadSpec(db, spec);
  const digestWith = async (change: string, undo: string, value: unknown, before: unknown) => {
    await db.query(change, [release, value]);
    digests.push((await evaluate(release)).digest);
    await db.query(undo, [release, before]);
  };
  const setSpec = 'update releases set spec = $2 where id = $1';
  const setCandidate = 'update releases set candidate = $2 where id = $1';
  const setAnswer = `update evaluation_results set result = jsonb_set(result, '{answer,text}', to_jsonb($2::text))
                      where release = $1 and case_index = 1`;
  const lax = { ...policy.evaluation, minAccuracy: 0.5 };
  const slow = { ...policy.evaluation, maxP95: 6_000 };
  const { content } = parseGoldenSet(`${questions(1)}\n${questions(1, '{type: contains, value: y}')}`);
  const { name, version } = await pushGoldenSet(db, { name: release, content, createdBy: 'ada' });
  const other = { ...policy.evaluation, goldenSet: `${name}@${version}` };
  for (const evaluation of [lax, slow, other]) {
    const changed = await saveSpec(db, { ...rest, policy: { ...policy, evaluation } });
    await digestWith(setSpec, setSpec, changed, spec);
  }
  const { candidate: another } = await getRelease(db, again);
  await digestWith(setCandidate, setCandidate, another, candidate);
  await digestWith(setAnswer, setAnswer, 'yes, indeed', 'yes');
  assert.equal(new Set(digests).size, 6);
  assert.equal((await evaluate(release)).digest, digests[0]);
});

test("an answer must satisfy the prompt's own output schema, which the engine is told", async () => {
  const prompt = `---
name: p
outputSchema: { type: object, required: [ok] }
---
{{input}}`;
  const endpoint = await endpointThat(({ messages }) =>
    messages[0]?.content === 'q0' ? '{"yes": 1}' : '{"ok": "yes"}',
  );
  const { summary } = await evaluate(await releaseOf(questions(4), [endpoint.url], { prompt }));
  assert.equal(summary.failures, 1);
  assert.deepEqual(endpoint.asked[0]?.response_format, {
    type: 'json_schema',
    json_schema: { name: 'answer', schema: { type: 'object', required: ['ok'] }, strict: true },
  });
});

test('a golden set that does not fit the prompt is refused before anything is asked', async () => {
  const endpoint = await endpointThat(() => 'yes');
  const golden = `${questions(2)}\n- {vars: {input: a, tone: b}, assert: [{type: contains, value: c}]}`;
  await assert.rejects(
    releaseOf(golden, [endpoint.url]).then((release) => evaluate(release)),
    (error: unknown) =>
      error instanceof SlipwayError &&
      error.code === 'PROMPT_VARIABLE_UNKNOWN' &&
      error.details.field === 'cases[2].vars',
  );
  assert.equal(endpoint.asked.length, 0);
});

test('an answer with characters that Postgres cannot keep is judged all the same', async () => {
  const endpoint = await endpointThat(() => 'yes\0\ud800');
  const { summary } = await evaluate(await releaseOf(questions(1), [endpoint.url]));
  assert.equal(summary.passed, true);
});

test('the activity gives history a verdict, one line and a digest; what cannot get better is final', async () => {
  const endpoint = await endpointThat(() => 'no');
  const log = pino({ enabled: false });
  const { evaluateCandidate } = createEvaluationActivities({
    db,
    ask: createAskEndpoint(),
    judge: null,
    log,
  });
  const release = await releaseOf(questions(2), [endpoint.url]);
  const result = await asAttempt(() => evaluateCandidate(stepOf(release)));
  assert.deepEqual(Object.keys(result).sort(), ['digest', 'passed', 'summary']);
  assert.equal(result.passed, false);
  assert.match(result.summary, /^0 of 2 cases passed/);
  assert.match(result.digest, /^sha256:[0-9a-f]{64}$/);
  await assert.rejects(
    asAttempt(() => evaluateCandidate(stepOf('nothing'))),
    { type: 'RELEASE_NOT_FOUND', nonRetryable: true },
  );
  const unasked = await releaseOf(questions(1), []);
  const lasting = { attempt: 9, after: defaultPolicy.canary.maxAge };
  await assert.rejects(
    asAttempt(() => evaluateCandidate(stepOf(unasked)), lasting),
    { type: 'NOT_MEASURABLE', nonRetryable: true },
  );
});
