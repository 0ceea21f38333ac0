/** What is assumed of an application as long as its traffic is not known. */
import { guardId, metricInfo } from './metrics.ts';
import type { GateBaseline, GateMetric } from './types.ts';

/**
 * Spreads of a user's influence that are assumed if nothing is known of the application: five requests a user, scores with SD 0.3 and an
 * intraclass correlation of 0.2, 1 % errors in runs of two, log-normal latencies with σ = 0.6; rounded up,
 * for users who are about equally active.
 */
const ASSUMED_SIGMA: Record<string, number> = {
  score: 0.2,
  error: 0.065,
  violation: 0.065,
  'latency/log-mean': 0.4,
  'latency/p95': 0.9,
  'ttft/log-mean': 0.4,
  'ttft/p95': 0.9,
  'tpot/log-mean': 0.3,
  'tpot/p95': 0.7,
  'cost/log-mean': 0.4,
};
const ASSUMED_OTHERWISE = 0.5;
/** And users as uneven in their activity as a geometric distribution makes them. */
const ASSUMED_EVENNESS = 0.5;
const ASSUMED_SAMPLES_PER_USER = 5;

/** Spread of a user's influence on the metric, and whether it is an assumption. */
export function sigmaOf(
  metric: GateMetric,
  baseline: GateBaseline | null,
): { sigma: number; assumed: boolean } {
  const known = baseline?.sigma[guardId(metric)];
  if (known !== undefined && known > 0) return { sigma: known, assumed: false };
  // A rate that never happened before the release is not known to vary; the default stands in for it.
  const key = metricInfo(metric.metric)?.kind === 'score' ? 'score' : guardId(metric);
  return { sigma: ASSUMED_SIGMA[key] ?? ASSUMED_OTHERWISE, assumed: true };
}

export function activityOf(baseline: GateBaseline | null): { samplesPerUser: number; evenness: number } {
  return {
    samplesPerUser: baseline?.samplesPerUser ?? ASSUMED_SAMPLES_PER_USER,
    evenness: baseline?.evenness ?? ASSUMED_EVENNESS,
  };
}
