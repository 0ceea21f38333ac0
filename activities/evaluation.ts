import { cancellationSignal, heartbeat } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import type { Logger } from 'pino';
import { type Judge, type Judgeable, type Judgement, UnjudgeableError } from '../adapters/judge/judge.ts';
import type { AskEndpoint } from '../adapters/vllm/ask.ts';
import { digestOf } from '../domain/digest.ts';
import { SlipwayError } from '../domain/errors.ts';
import {
  type Assertion,
  type AssertionResult,
  assertOutput,
  assertScore,
  type CaseVerdict,
  judgeCase,
} from '../domain/evaluation/assertions.ts';
import type { GoldenCase } from '../domain/evaluation/golden.ts';
import { type EvaluationSummary, summarise } from '../domain/evaluation/summary.ts';
import { duration } from '../domain/gate/wording.ts';
import type { PromptContent } from '../domain/prompt/prompt.ts';
import { renderMessages } from '../domain/prompt/render.ts';
import { type CompletionRequest, completionRequest } from '../domain/prompt/request.ts';
import { storableText } from '../domain/storable.ts';
import type { Database } from '../store/database.ts';
import { type CaseResult, listCaseResults, saveCaseAnswer, saveCaseVerdict } from '../store/evaluations.ts';
import { getGoldenSet } from '../store/golden-sets.ts';
import { getPrompt } from '../store/prompts.ts';
import { getRelease, loadSpec } from '../store/releases.ts';
import { getRevision } from '../store/revisions.ts';
import { getServing } from '../store/servings.ts';
import type { EvaluationResult, Step } from './contract.ts';
import { finalErrors, watchedFor } from './watch.ts';

export interface EvaluationDeps {
  db: Database;
  ask: AskEndpoint;
  /** null: no judge is configured; golden sets with `llm-rubric` wait for one. */
  judge: Judge | null;
  log: Logger;
  /** Cases that are asked at once. */
  concurrency?: number | undefined;
}

/** How soon an evaluation that could not be made is tried again, in ms. */
const TRY_AGAIN_MS = 2_000;
/** A replica that says nothing for so long is taken for one that cannot be asked. */
const ANSWER_WITHIN_MS = 60_000;
const HEARTBEAT_EVERY_MS = 1_000;
/** An answer that gets no judgement so many times in a row never will. */
const JUDGED_AT_MOST = 5;

/** What an evaluation reports to while it runs, and what stops it. */
export interface EvaluationWatch {
  /** E.g. `17 of 30 cases`. */
  progress: (text: string) => void;
  signal: AbortSignal;
  /** How long it has been tried in vain, ms. */
  triedFor: number;
}

/** The candidate's evaluation on its golden set. The factory's functions are the activities' names. */
export function createEvaluationActivities(deps: EvaluationDeps) {
  return {
    /**
     * Asks the candidate's golden set of the real serving and judges the answers. A wrong answer counts against the candidate; a case
     * that could not be asked or judged counts as nothing: the activity fails and is tried again, and goes on where it was, because
     * each answer and each verdict is kept (invariant 6).
     */
    async evaluateCandidate({ progress: { release } }: Step): Promise<EvaluationResult> {
      let said = 'starting';
      const beat = setInterval(() => heartbeat(said), HEARTBEAT_EVERY_MS);
      try {
        const progress = (text: string) => {
          said = text;
          heartbeat(text);
        };
        const { summary, digest } = await finalErrors(() =>
          evaluateRelease(deps, release, { progress, signal: cancellationSignal(), triedFor: watchedFor() }),
        );
        return { passed: summary.passed, summary: summary.reason, digest };
      } finally {
        clearInterval(beat);
      }
    },
  };
}

/**
 * @returns the summary, and a digest of everything that it follows from
 * @throws SlipwayError when release, golden set and prompt do not fit together, and NOT_MEASURABLE when it could not be measured for the
 * policy's maximum age (invariant 4); other errors when it could not be measured now
 */
export async function evaluateRelease(
  deps: EvaluationDeps,
  release: string,
  watch: EvaluationWatch,
): Promise<{ summary: EvaluationSummary; digest: string }> {
  const { db, log } = deps;
  const row = await getRelease(db, release);
  const { evaluation: policy, canary } = (await loadSpec(db, row.spec)).policy;
  const notMeasured = (why: string) => notMeasurable(why, watch.triedFor, canary.maxAge);
  const golden = await getGoldenSet(db, policy.goldenSet);
  const revision = await getRevision(db, row.candidate);
  const { content: prompt } = await getPrompt(db, revision.promptDigest);
  const { endpoints } = await getServing(db, revision.serving);
  const { cases } = golden.content;

  // All are rendered before the first is asked: a golden set that does not fit the prompt costs nothing.
  const requests = cases.map((test, index) => requestOf(prompt, revision.model.name, test, index));
  if (deps.judge === null && cases.some((test) => test.assert.some(({ type }) => type === 'llm-rubric'))) {
    throw notMeasured(
      'the golden set needs a judge: set SLIPWAY_JUDGE_URL and SLIPWAY_JUDGE_MODEL of the worker',
    );
  }
  const kept = await listCaseResults(db, release);

  let done = 0;
  await eachAtOnce(cases, deps.concurrency ?? 4, watch.signal, async (test, index) => {
    const before = kept.get(index);
    if (!before?.verdict) await runCase(test, index, before?.answer);
    done += 1;
    watch.progress(`${done} of ${cases.length} cases`);
  }).catch((error: unknown) => {
    if (error instanceof SlipwayError || watch.signal.aborted) throw error;
    throw notMeasured(`${done} of ${cases.length} cases; ${error instanceof Error ? error.message : error}`);
  });

  async function runCase(
    test: GoldenCase,
    index: number,
    keptAnswer: CaseResult['answer'] | undefined,
  ): Promise<void> {
    let answer = keptAnswer;
    if (answer === undefined) {
      const asked = await askAny(deps.ask, rotated(endpoints, index), requests[index], watch.signal);
      answer = await saveCaseAnswer(db, release, index, { ...asked, text: storableText(asked.text) });
    }
    const verdict = await verdictOf(prompt, test, answer, deps.judge, watch.signal).catch((error) => {
      throw error instanceof UnjudgeableError ? neverJudged(error, index) : error;
    });
    await saveCaseVerdict(db, release, index, verdict);
  }

  // What is kept is what counts, also when another attempt, thought dead, has written a part of it.
  const results = [...(await listCaseResults(db, release)).values()];

  const outcomes = results.map(({ answer, verdict }) => ({
    passed: verdict?.passed ?? false,
    latencyMs: answer.latencyMs,
  }));
  const summary = summarise(outcomes, policy);
  log.info({ release, application: row.application, ...summary }, 'golden set evaluated');
  const { minAccuracy, maxP95 } = policy;
  const digest = digestOf({
    kind: 'evaluation',
    candidate: row.candidate,
    goldenSet: golden.digest,
    policy: { minAccuracy, maxP95 },
    results,
    summary,
  });
  return { summary, digest };
}

function requestOf(
  prompt: PromptContent,
  servedModel: string,
  test: GoldenCase,
  index: number,
): CompletionRequest {
  const { input = '', ...variables } = test.vars;
  try {
    const messages = renderMessages(prompt, { messages: [{ role: 'user', content: input }], variables });
    return completionRequest(prompt, servedModel, messages);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    const field = `cases[${index}].vars`;
    throw new SlipwayError(error.code, `case ${index + 1} of the golden set: ${error.message}`, {
      ...error.details,
      field,
    });
  }
}

/** To be tried again soon; for good when it has been tried for too long: application and GPUs are held meanwhile. */
function notMeasurable(message: string, triedFor: number, maxAge: number): Error {
  if (triedFor >= maxAge) {
    const tried = `the candidate could not be evaluated for ${duration(triedFor)}: ${message}`;
    return new SlipwayError('NOT_MEASURABLE', tried, {
      remedy: 'Repair the judge or the serving and start the release again',
    });
  }
  return ApplicationFailure.create({
    type: 'NOT_MEASURABLE',
    message,
    nonRetryable: false,
    nextRetryDelay: TRY_AGAIN_MS,
    category: ApplicationFailureCategory.BENIGN,
  });
}

/** For good: waiting for it would hold application and GPUs in vain. */
function neverJudged({ message }: UnjudgeableError, index: number): SlipwayError {
  const tried = `case ${index + 1} of the golden set cannot be judged: ${message}, ${JUDGED_AT_MOST} times`;
  return new SlipwayError('NOT_MEASURABLE', tried, {
    field: `cases[${index}].assert`,
    remedy:
      'Word its llm-rubric so that the judge can answer, or use another judge, and start the release again',
  });
}

/** @throws UnjudgeableError when the judge has nothing to say of this answer */
async function judgementOf(judge: Judge, answer: Judgeable, signal: AbortSignal): Promise<Judgement> {
  for (let times = 1; ; times += 1) {
    try {
      return await judge.score(answer, { signal });
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof UnjudgeableError) || times === JUDGED_AT_MOST) throw error;
    }
  }
}

function rotated<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

/** Asks the first replica that can be asked. */
async function askAny(
  ask: AskEndpoint,
  endpoints: readonly string[],
  request: CompletionRequest | undefined,
  signal: AbortSignal,
): Promise<CaseResult['answer']> {
  if (request === undefined) throw new TypeError('a case without a request');
  let problem: unknown = new Error("no replica of the candidate's serving is ready");
  for (const endpoint of endpoints) {
    signal.throwIfAborted();
    try {
      return await ask(endpoint, request, { timeoutMs: ANSWER_WITHIN_MS, signal });
    } catch (error) {
      problem = error;
    }
  }
  throw problem;
}

async function verdictOf(
  prompt: PromptContent,
  test: GoldenCase,
  answer: CaseResult['answer'],
  judge: Judge | null,
  signal: AbortSignal,
): Promise<CaseVerdict> {
  if (answer.refusal !== null) {
    return { passed: false, score: 0, reasons: [`the engine refused the request: ${answer.refusal}`] };
  }
  const results: AssertionResult[] = [];
  for (const assertion of test.assert) {
    if (assertion.type !== 'llm-rubric') {
      results.push(assertOutput(assertion, answer.text));
      continue;
    }
    if (judge === null) throw new TypeError('an llm-rubric without a judge');
    const criteria = String(assertion.value);
    const judgeable = { input: test.vars.input ?? '', output: answer.text, criteria };
    const { score, rationale } = await judgementOf(judge, judgeable, signal);
    results.push(assertScore(assertion, score, rationale));
  }
  const verdict = judgeCase(test.assert, results, test.threshold);
  if (prompt.outputSchema === null) return verdict;
  // The prompt version itself says what every answer must be.
  const schema: Assertion = { type: 'is-json', value: prompt.outputSchema, weight: 1 };
  const { reason } = assertOutput(schema, answer.text);
  return reason === null ? verdict : { ...verdict, passed: false, reasons: [...verdict.reasons, reason] };
}

/**
 * Works on all items, so many at once. After an error no other item is begun; those that were are waited for, so that their results are
 * kept.
 * @throws the first error
 */
async function eachAtOnce<T>(
  items: readonly T[],
  concurrency: number,
  signal: AbortSignal,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const errors: unknown[] = [];
  const waiting = items.entries();
  const worker = async () => {
    for (const [index, item] of waiting) {
      try {
        signal.throwIfAborted();
        await work(item, index);
      } catch (error) {
        errors.push(error);
      }
      if (errors.length > 0) return;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, worker));
  if (errors.length > 0) throw errors[0];
}
