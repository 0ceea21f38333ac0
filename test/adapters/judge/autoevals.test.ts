import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createJudge } from '../../../adapters/judge/autoevals.ts';
import { judgeFromEnvironment } from '../../../adapters/judge/environment.ts';
import { type Judge, UnjudgeableError } from '../../../adapters/judge/judge.ts';
import { type ModelEndpoint, type Reply, startModelEndpoint } from '../../support/model-endpoint.ts';

let endpoint: ModelEndpoint;
let reply: Reply = { choice: 'Y' };
before(async () => {
  endpoint = await startModelEndpoint(() => reply);
});
after(() => endpoint.stop());

const answer = { input: 'Open {{output}}?', output: '"Yes" & {{criteria}}', criteria: 'It is <polite>.' };
const judgeWith = (options = {}) => createJudge({ url: `${endpoint.url}/v1`, model: 'j', ...options });

test('the judge is told question, answer and criterion as they are, and its choice is the score', async () => {
  reply = { choice: 'Y' };
  assert.deepEqual(await judgeWith().score(answer), { score: 1, rationale: null });
  reply = { choice: 'N', reasons: 'rude' };
  assert.deepEqual(await judgeWith({ reasons: true }).score({ ...answer, expected: 'At nine.' }), {
    score: 0,
    rationale: 'rude',
  });
  const [plain, reasoned] = endpoint.asked.slice(-2).map(({ messages }) => messages[0]?.content ?? '');
  assert.match(plain ?? '', /\[Task\]: Open \{\{output\}\}\?/);
  assert.match(plain ?? '', /\[Submission\]: "Yes" & \{\{criteria\}\}/);
  assert.match(plain ?? '', /\[Criterion\]: It is <polite>\.\n/);
  assert.match(reasoned ?? '', /A right answer would be: At nine\./);
  assert.equal(endpoint.asked.at(-1)?.temperature, 0);
});

test('what is no judgement is an error that holds neither the key nor a text', async () => {
  const problemWith = (judge: Judge): Promise<unknown> =>
    judge.score(answer).catch((error: unknown) => error);
  const unreadable = 'the judge gave no judgement that can be read';
  for (const [said, message, ofThisAnswer] of [
    [{ status: 401 }, 'the judge answered 401', false],
    [{ status: 429 }, 'the judge answered 429', false],
    [{ status: 503 }, 'the judge answered 503', false],
    [{ status: 400 }, 'the judge answered 400', true],
    [{ status: 413 }, 'the judge answered 413', true],
    [{ choice: 'Perhaps' }, unreadable, true],
    ['I cannot say', unreadable, true],
  ] satisfies [Reply, string, boolean][]) {
    reply = said;
    const problem = await problemWith(judgeWith({ key: 'sk-secret' }));
    assert.ok(problem instanceof Error);
    assert.deepEqual([problem.message, problem instanceof UnjudgeableError], [message, ofThisAnswer]);
  }
  const problem = await problemWith(createJudge({ url: 'http://127.0.0.1:1/v1', model: 'j' }));
  assert.ok(problem instanceof Error && !(problem instanceof UnjudgeableError));
  assert.equal(problem.message, 'the judge does not answer');
});

test('a judge that says nothing is waited for so long and no longer, and can be broken off', async () => {
  reply = 'hang';
  await assert.rejects(judgeWith({ timeoutMs: 50 }).score(answer), { message: 'the judge does not answer' });
  const signal = AbortSignal.timeout(50);
  await assert.rejects(judgeWith().score(answer, { signal }), (error: unknown) => error === signal.reason);
});

test('nobody else is asked, whatever the environment says of other endpoints', async () => {
  reply = { choice: 'Y' };
  const before = endpoint.asked.length;
  const nowhere = 'http://127.0.0.1:1';
  const others = { OPENAI_BASE_URL: nowhere, BRAINTRUST_AI_GATEWAY_URL: nowhere, OPENAI_API_KEY: 'sk-other' };
  Object.assign(process.env, others);
  try {
    const env = { SLIPWAY_JUDGE_URL: `${endpoint.url}/v1`, SLIPWAY_JUDGE_MODEL: 'j' };
    assert.equal((await judgeFromEnvironment(env)?.score(answer))?.score, 1);
  } finally {
    for (const name of Object.keys(others)) delete process.env[name];
  }
  assert.equal(endpoint.asked.length, before + 1);
});

test('without an address or a model there is no judge', () => {
  assert.equal(judgeFromEnvironment({}), null);
  assert.equal(judgeFromEnvironment({ SLIPWAY_JUDGE_URL: 'http://x/v1' }), null);
});
