import type { Arm } from '../../domain/words.ts';

/** One request that was routed to an arm, as the gateway's spool carries it to the ledger. */
export interface SampleRecord {
  /** The request's id: a UUID, version 7 from the gateway. A record with an id that the ledger has is a replay. */
  id: string;
  /** When the request arrived, ms since 1970. */
  at: number;
  tenant: string;
  application: string;
  /** The release whose canary was running; null outside one. */
  release: string | null;
  /** The arm assigned, whatever served; null together with `user`. */
  arm: Arm | null;
  /** Keyed hash of the user; null: out of the gate. */
  user: string | null;
  /** `stratumId` of domain/gate/strata.ts, counted from the canary's start, or from 1970 by UTC days outside a release. */
  stratum: number;
  /** Digest of the revision that served. */
  revision: string;
  endpoint: string | null;
  /** HTTP status that the client got. */
  status: number;
  /** Why it failed or ended early; null: answered in full. */
  reason: string | null;
  /** Counts as an error for the gate. */
  failed: boolean;
  /** The client did not get all of it. */
  interrupted: boolean;
  streamed: boolean;
  finishReason: string | null;
  /** Guardrail violations; always 0 yet, because nothing is checked. */
  violations: number;
  /** Seconds from arrival to the end. */
  latency: number;
  /** Seconds from arrival to the first content; null unless streamed. */
  ttft: number | null;
  /** Seconds per token after the first; null unless streamed. */
  tpot: number | null;
  /** US dollars; null without usage from the engine. */
  cost: number | null;
  promptTokens: number | null;
  completionTokens: number | null;
  cachedTokens: number | null;
  /** Set for the share of answers that the online evaluator scores. */
  scoring: { input: string; output: string } | null;
}

/** What of a record the gate's values are made from. */
export type JudgedColumns = Pick<
  SampleRecord,
  'failed' | 'interrupted' | 'violations' | 'latency' | 'ttft' | 'tpot' | 'cost'
>;

/**
 * The values that the gate judges. A request that failed or ended early has no latency, because a quick failure is not a quick answer; its
 * error says what it was.
 */
export function metricsOf(record: JudgedColumns): [metric: string, value: number][] {
  const values: [string, number][] = [
    ['error', record.failed ? 1 : 0],
    ['violation', record.violations > 0 ? 1 : 0],
  ];
  if (!record.failed && !record.interrupted) values.push(['latency', record.latency]);
  if (record.ttft !== null) values.push(['ttft', record.ttft]);
  if (record.tpot !== null) values.push(['tpot', record.tpot]);
  if (record.cost !== null) values.push(['cost', record.cost]);
  return values;
}
