import type { Judge } from '../adapters/judge/judge.ts';
import { shortDigest } from '../domain/digest.ts';
import type { Database } from '../store/database.ts';
import { attachScores, type Score } from '../store/ledger.ts';
import { claimAnswers, postponeAnswers, removeAnswers } from '../store/scoring-queue.ts';
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

/**
 * Claims some answers, has them judged, and puts the scores into the ledger. After a failure no other judgement is begun; what was not
 * judged goes back to the queue.
 * @returns how many were claimed, and the first failure of the judge
 * @throws when the database fails
 */
export async function scoreRound(round: Round): Promise<{ claimed: number; failure: Error | null }> {
  const { db, judge, name, criteria, concurrency, claimMs, signal, metrics } = round;
  const answers = await claimAnswers(db, { limit: concurrency * ANSWERS_EACH, claimMs });
  const scores: Score[] = [];
  const failed: string[] = [];
  let failure: Error | null = null;

  const waiting = answers.values();
  const judging = async () => {
    for (const { request, input, output } of waiting) {
      try {
        signal.throwIfAborted();
        const { score } = await judge.score({ input, output, criteria }, { signal });
        scores.push({ request, evaluator: name, score });
      } catch (error) {
        if (!signal.aborted) {
          failed.push(request);
          metrics.failures.inc();
        }
        failure ??= error instanceof Error ? error : new Error(String(error));
      }
      if (failure !== null) return;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, judging));

  // Scores first: an answer whose score is not in the ledger must not leave the queue.
  for (const { evaluator, score, application, revision, arm } of await attachScores(db, scores)) {
    metrics.quality.observe(
      { evaluator, application, revision: shortDigest(revision), arm: arm ?? 'none' },
      score,
    );
  }
  const done = new Set(scores.map((score) => score.request));
  await removeAnswers(db, [...done]);
  await postponeAnswers(db, failed, AFTER_FAILURE_MS);
  const untouched = answers.map(({ request }) => request).filter((r) => !done.has(r) && !failed.includes(r));
  await postponeAnswers(db, untouched, 0);
  return { claimed: answers.length, failure };
}
