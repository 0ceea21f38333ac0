import type { CaseVerdict } from '../domain/evaluation/assertions.ts';
import type { Queryable } from './database.ts';

/** What a candidate answered to one case of its golden set, and what that was worth once it was judged. */
export interface CaseResult {
  answer: {
    text: string;
    /** Why the engine would not answer this request; null: it answered. */
    refusal: string | null;
    latencyMs: number;
  };
  verdict: CaseVerdict | null;
}

/** Results of a release's evaluation, by the case's index in the golden set. */
export async function listCaseResults(db: Queryable, release: string): Promise<Map<number, CaseResult>> {
  const { rows } = await db.query<{ index: number; result: CaseResult }>(
    'select case_index as index, result from evaluation_results where release = $1 order by case_index',
    [release],
  );
  return new Map(rows.map((row) => [row.index, row.result]));
}

/**
 * Keeps an answer before it is judged, so that it is never asked for again; the first one stays.
 * @returns the one that stays
 */
export async function saveCaseAnswer(
  db: Queryable,
  release: string,
  index: number,
  answer: CaseResult['answer'],
): Promise<CaseResult['answer']> {
  const { rows } = await db.query<{ answer: CaseResult['answer'] }>(
    `insert into evaluation_results as kept (release, case_index, result) values ($1, $2, $3)
     on conflict (release, case_index) do update set result = kept.result
     returning result -> 'answer' as answer`,
    [release, index, JSON.stringify({ answer, verdict: null })],
  );
  return rows[0]?.answer ?? answer;
}

/** Adds the verdict to a kept answer; the first one stays. */
export async function saveCaseVerdict(
  db: Queryable,
  release: string,
  index: number,
  verdict: CaseVerdict,
): Promise<void> {
  await db.query(
    `update evaluation_results set result = jsonb_set(result, '{verdict}', $3)
      where release = $1 and case_index = $2 and result -> 'verdict' = 'null'`,
    [release, index, JSON.stringify(verdict)],
  );
}
