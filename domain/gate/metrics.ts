/**
 * The metrics that the gate knows, and how a raw value becomes the integer that the ledger adds up. Pure, the only definition:
 * the gateway's ingestion and the CSV reader both call it.
 */
import type { UnusableReason } from './types.ts';

/** Ledger values are integers in units of 1e-6, so that sums are exact and do not depend on order. */
export const FIXED_POINT = 1_000_000;

/** Largest |value| that can be stored, in the metric's unit: its integer is exact in a double, and 2000 of them in a bigint. */
const LARGEST = 4e9;

export type MetricKind = 'score' | 'rate' | 'positive';

export interface MetricInfo {
  kind: MetricKind;
  unit: string;
  /** For positive metrics, the smallest value that is told apart: its logarithm stands for anything below (a cached answer costs 0). */
  floor: number;
}

const known: Record<string, MetricInfo> = {
  error: { kind: 'rate', unit: 'failed requests', floor: 0 },
  violation: { kind: 'rate', unit: 'requests with a violation', floor: 0 },
  latency: { kind: 'positive', unit: 's', floor: 1e-3 },
  ttft: { kind: 'positive', unit: 's', floor: 1e-3 },
  tpot: { kind: 'positive', unit: 's', floor: 1e-4 },
  cost: { kind: 'positive', unit: 'USD', floor: 1e-6 },
};

const score: MetricInfo = { kind: 'score', unit: 'score', floor: 0 };

/** A quality score of an evaluator, `quality:<evaluator>`, or one of the six metrics of every request; null if unknown. */
export function metricInfo(metric: string): MetricInfo | null {
  if (/^quality:./.test(metric)) return score;
  return Object.hasOwn(known, metric) ? (known[metric] ?? null) : null;
}

/** May the metric be judged by a percentile? The ledger keeps histograms of these only. */
export function hasHistogram(metric: string): boolean {
  return metric === 'latency' || metric === 'ttft' || metric === 'tpot';
}

export type LedgerValue = { value: number } | { unusable: UnusableReason };

/**
 * The integer that the ledger adds for one sample: 1e6 × value; 1e6 × ln(value) for latency, ttft, tpot and cost (seconds, dollars); 0 or
 * 1e6 for rates. NaN is `not-finite`, ±∞ is `infinite`, negative durations or costs and what does not fit are `out-of-range`. Never silently 0.
 */
export function ledgerValue(metric: string, value: number): LedgerValue {
  const info = metricInfo(metric) ?? score;
  if (Number.isNaN(value)) return { unusable: 'not-finite' };
  if (!Number.isFinite(value)) return { unusable: 'infinite' };
  if (info.kind === 'positive') {
    if (value < 0) return { unusable: 'out-of-range' };
    return { value: Math.round(Math.log(Math.max(value, info.floor)) * FIXED_POINT) };
  }
  if (info.kind === 'rate' && value !== 0 && value !== 1) return { unusable: 'out-of-range' };
  if (Math.abs(value) > LARGEST) return { unusable: 'out-of-range' };
  return { value: Math.round(value * FIXED_POINT) };
}

/** Name of a guard: one metric may be judged on two scales. */
export function guardId(guard: { metric: string; scale: string }): string {
  return guard.scale === 'absolute' ? guard.metric : `${guard.metric}/${guard.scale}`;
}
