import type { EvaluationPolicy } from '../policy/policy.ts';

/** What one case of a golden set came to. */
export interface CaseOutcome {
  passed: boolean;
  /** From the request to the answer's last byte. */
  latencyMs: number;
}

/** What a whole evaluation came to; small enough for a workflow's history. */
export interface EvaluationSummary {
  passed: boolean;
  /** Share of cases that passed, 0–1. */
  accuracy: number;
  p95Ms: number;
  cases: number;
  failures: number;
  /** The figures, and what they missed. */
  reason: string;
}

/** Passed: more than the policy's accuracy, and a p95 below its limit. No cases never pass: their p95 is below nothing. */
export function summarise(
  outcomes: readonly CaseOutcome[],
  policy: Pick<EvaluationPolicy, 'minAccuracy' | 'maxP95'>,
): EvaluationSummary {
  const cases = outcomes.length;
  const failures = outcomes.filter((outcome) => !outcome.passed).length;
  const accuracy = cases === 0 ? 0 : (cases - failures) / cases;
  const p95Ms = percentile95(outcomes.map((outcome) => outcome.latencyMs));
  const missed = [
    ...(accuracy > policy.minAccuracy ? [] : [`accuracy must be more than ${percent(policy.minAccuracy)}`]),
    ...(p95Ms < policy.maxP95 ? [] : [`p95 must be below ${Math.round(policy.maxP95)} ms`]),
  ];
  const figures = `${cases - failures} of ${cases} cases passed (${percent(accuracy)}), p95 ${Math.round(p95Ms)} ms`;
  return {
    passed: missed.length === 0,
    accuracy,
    p95Ms,
    cases,
    failures,
    reason: missed.length === 0 ? figures : `${figures}: ${missed.join(', ')}`,
  };
}

/** By nearest rank: the smallest value that at least 95 % of the values do not exceed; infinite without values. */
function percentile95(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.ceil(0.95 * sorted.length) - 1] ?? Number.POSITIVE_INFINITY;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
