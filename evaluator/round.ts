import { type Judge, UnjudgeableError } from '../adapters/judge/judge.ts';
import { shortDigest } from '../domain/digest.ts';
import type { Database } from '../store/database.ts';
import { attachScores, type Score } from '../store/ledger.ts';
import {
  claimAnswers,
  postponeAnswers,
  refuseAnswers,
  removeAnswers,
  type SetAside,
} from '../store/scoring-queue.ts';
import type { EvaluatorMetrics } from './metrics.ts';

export interface Round {
  db: Database;
  judge: Judge;
  /** The evaluator's name. */
  name: string;
  criteria: string;
  concurrency: number;
  claimMs: number;
  signal: AbortSignal;
  metrics: EvaluatorMetrics;
}

/** Answers that each of a round's judgements at once has to do: enough to be quick, few enough to be done before the claim ends. */
const ANSWERS_EACH = 4;
/** An answer that could not be judged comes again after so long, behind the others. */
const AFTER_FAILURE_MS = 10_000;
/** An answer that a judge who is well has refused so often is set aside without a score. */
const ATTEMPTS = 3;

export interface RoundResult {
  claimed: number;
  scored: number;
  /** Answers that will have no score. */
  setAside: SetAside[];
  /** Why no answer could be judged any more; null: the judge is well. */
  outage: Error | null;
}

/**
 * Claims some answers, has them judged, and puts the scores into the ledger. An answer that the judge refuses holds up no other. In an
 * outage of the judge no other judgement is begun; what was not judged goes back to the queue.
 * @throws when the database fails
 */
export async function scoreRound(round: Round): Promise<RoundResult> {
  const { db, judge, name, criteria, concurrency, claimMs, signal, metrics } = round;
  const answers = await claimAnswers(db, { limit: concurrency * ANSWERS_EACH, claimMs });
  const scores: Score[] = [];
  const refused: string[] = [];
  const failed: string[] = [];
  let outage: Error | null = null;

  const waiting = answers.values();
  const judging = async () => {
    for (const { request, input, output } of waiting) {
      try {
        signal.throwIfAborted();
        const { score } = await judge.score({ input, output, criteria }, { signal });
        scores.push({ request, evaluator: name, score });
      } catch (error) {
        if (!signal.aborted) metrics.failures.inc();
        if (error instanceof UnjudgeableError) {
          refused.push(request);
        } else {
          if (!signal.aborted) failed.push(request);
          outage ??= error instanceof Error ? error : new Error(String(error));
        }
      }
      if (outage !== null) return;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, judging));
  // A judge that is set up wrongly refuses everything. Only one that scores at all can say something of an answer by refusing it.
  if (refused.length > 0 && scores.length === 0) outage ??= await outageOf(round);
  if (outage !== null && scores.length === 0) failed.push(...refused.splice(0));

  // Scores first: an answer whose score is not in the ledger must not leave the queue.
  for (const { evaluator, score, application, revision, arm } of await attachScores(db, scores)) {
    metrics.quality.observe(
      { evaluator, application, revision: shortDigest(revision), arm: arm ?? 'none' },
      score,
    );
  }
  const done = new Set(scores.map((score) => score.request));
  await removeAnswers(db, [...done]);
  const setAside = await refuseAnswers(db, refused, { againInMs: AFTER_FAILURE_MS, atMost: ATTEMPTS });
  for (const { application, revision, arm, answers } of setAside) {
    metrics.setAside.inc(
      { evaluator: name, application, revision: shortDigest(revision ?? 'none'), arm: arm ?? 'none' },
      answers,
    );
  }
  await postponeAnswers(db, failed, AFTER_FAILURE_MS);
  const asked = new Set([...done, ...refused, ...failed]);
  const untouched = answers.map(({ request }) => request).filter((request) => !asked.has(request));
  await postponeAnswers(db, untouched, 0);
  return { claimed: answers.length, scored: scores.length, setAside, outage };
}

/** Why the judge has no score for an answer that any judge can score; null: it has one. */
async function outageOf({ judge, criteria, signal }: Round): Promise<Error | null> {
  try {
    await judge.score({ input: 'How much is one and one?', output: 'Two.', criteria }, { signal });
    return null;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
