import { shortDigest } from './digest.ts';
import type { GuardMetric, GuardPolicy } from './policy/policy.ts';
import type { Arm } from './words.ts';

/** A figure from a measurement, or why there is none. NaN and infinities are no figures. */
export type Measured = { value: number } | { missing: string };

/** Whose requests: the gateways label every metric with these. */
export interface ArmSelector {
  application: string;
  arm: Arm;
  /** Digest of the revision. */
  revision: string;
}

/** How one guard is measured on one arm, in PromQL without a time of its own: it is about the window that ends when it is asked. */
export interface GuardQueries {
  /** Requests in the window that the value is about. */
  requests: string;
  /** Share, p95 or mean: one query, so that numerator and denominator are of one moment. */
  value: string;
  /** A counter that has not counted yet has no series: if Prometheus knows this metric, its absence is zero. */
  zeroIfAbsent: string | null;
  /**
   * Where the value is about some requests only (streams): the query for all of them, and the metric whose absence then means that there
   * were none; else null.
   */
  population: { requests: string; metric: string } | null;
}

/** Both sides of a ratio are summed up to one series without labels, so that it never joins series whose labels do not match. */
export function guardQueries(metric: GuardMetric, selector: ArmSelector, windowMs: number): GuardQueries {
  const labels = `{${labelsOf(selector)}}[${Math.max(1, Math.round(windowMs / 1000))}s]`;
  const total = (name: string): string => `sum(increase(${name}${labels}))`;
  const p95 = (name: string): string =>
    `histogram_quantile(0.95, sum by (le) (rate(${name}_bucket${labels})))`;
  const share = (name: string): GuardQueries => ({
    requests: total('llm_requests_total'),
    value: `${total(name)} / ${total('llm_requests_total')}`,
    zeroIfAbsent: name,
    population: null,
  });
  const quantile = (name: string): GuardQueries => ({
    requests: total(`${name}_count`),
    value: p95(name),
    zeroIfAbsent: null,
    population: null,
  });
  switch (metric) {
    case 'errors':
      return share('llm_requests_failed_total');
    case 'violations':
      return share('llm_guardrail_violations_total');
    case 'latency-p95':
      return quantile('llm_request_latency_seconds');
    case 'ttft-p95':
      return {
        ...quantile('llm_ttft_seconds'),
        population: { requests: total('llm_requests_total'), metric: 'llm_ttft_seconds' },
      };
    case 'cost':
      return {
        requests: total('llm_request_cost_dollars_count'),
        value: `${total('llm_request_cost_dollars_sum')} / ${total('llm_request_cost_dollars_count')}`,
        zeroIfAbsent: null,
        population: null,
      };
  }
}

/** The revision's label may be its whole digest or the short one. */
function labelsOf({ application, arm, revision }: ArmSelector): string {
  const quoted = JSON.stringify(application);
  return `application=${quoted},arm="${arm}",revision=~"(sha256:)?${shortDigest(revision)}.*"`;
}

/** What was measured of one guard on one arm. */
export interface ArmMeasurement {
  requests: Measured;
  value: Measured;
  /** All requests, where the value is about some of them only. */
  population?: Measured | undefined;
}

/**
 * `ok`: within its limit. `failed`: a bad value. `error`: could not be measured, which is neither (invariant 4). `waiting`: too few
 * requests to say anything yet.
 */
export type GuardState = 'ok' | 'failed' | 'error' | 'waiting';

export interface GuardReading {
  metric: GuardMetric;
  state: GuardState;
  /** Null where there is no figure. Shares and p95s are of the window; costs are dollars a request, times are seconds. */
  canary: number | null;
  stable: number | null;
  /** The canary's value may not be above this. */
  limit: number | null;
  requests: { canary: number | null; stable: number | null };
  message: string;
  /** What all this was read from, so that the reading can be made again. */
  measured: Record<Arm, ArmMeasurement>;
}

/** One guard on both arms. @param minRequests on either arm, for a figure to be worth a look */
export function readGuard(
  guard: GuardPolicy,
  measured: Record<Arm, ArmMeasurement>,
  minRequests: number,
): GuardReading {
  const { metric } = guard;
  const canary = figureOf(measured.canary.value);
  const stable = figureOf(measured.stable.value);
  const requests = {
    canary: figureOf(measured.canary.requests),
    stable: figureOf(measured.stable.requests),
  };
  const reading = (state: GuardState, limit: number | null, message: string): GuardReading => ({
    metric,
    state,
    canary,
    stable,
    limit,
    requests,
    message,
    measured,
  });

  if (noneStreams(measured.canary) && noneStreams(measured.stable)) {
    return reading('waiting', null, `${metric}: no request of either arm was streamed`);
  }
  for (const arm of ['canary', 'stable'] as const) {
    const count = requests[arm];
    if (count === null)
      return reading('error', null, `${metric}: ${whyMissing(measured[arm].requests, arm)}`);
    if (count <= 0) return reading('error', null, `${metric}: the ${arm} arm has no traffic`);
  }
  for (const arm of ['canary', 'stable'] as const) {
    const count = Math.floor(requests[arm] ?? 0);
    if (count < minRequests) {
      return reading(
        'waiting',
        null,
        `${metric}: too few requests yet, ${count} of ${minRequests} on the ${arm} arm`,
      );
    }
  }
  if (canary === null)
    return reading('error', null, `${metric}: ${whyMissing(measured.canary.value, 'canary')}`);
  if (stable === null)
    return reading('error', null, `${metric}: ${whyMissing(measured.stable.value, 'stable')}`);

  const limit = stable * guard.ratio + guard.plus;
  const failed = canary > limit;
  const figures = `canary ${show(metric, canary)}, stable ${show(metric, stable)}, limit ${show(metric, limit)}`;
  return reading(failed ? 'failed' : 'ok', limit, `${metric} ${failed ? 'breached' : 'ok'}: ${figures}`);
}

/** All guards of one look together. */
export interface GuardLook {
  /** A breach stands whatever else could not be measured; else what could not be measured holds; else what is not yet known. */
  state: GuardState;
  readings: GuardReading[];
  /** The readings that made the state, in words. */
  message: string;
}

const gravest: readonly GuardState[] = ['failed', 'error', 'waiting', 'ok'];

export function lookAt(readings: GuardReading[]): GuardLook {
  const state = gravest.find((grave) => readings.some((reading) => reading.state === grave)) ?? 'ok';
  const message = readings
    .filter((reading) => reading.state === state)
    .map((reading) => reading.message)
    .join('; ');
  return { state, readings, message: message === '' ? 'the policy has no guards' : message };
}

/** An application that does not stream has no time to first token, and lacks nothing; one without any requests does. */
export function noneStreams({ requests, population }: ArmMeasurement): boolean {
  return population !== undefined && figureOf(requests) === 0 && (figureOf(population) ?? 0) > 0;
}

function figureOf(measured: Measured): number | null {
  return 'value' in measured && Number.isFinite(measured.value) ? measured.value : null;
}

function whyMissing(measured: Measured, arm: Arm): string {
  const why = 'missing' in measured ? measured.missing : `the result is ${measured.value}`;
  return `could not be measured on the ${arm} arm: ${why}`;
}

function show(metric: GuardMetric, value: number): string {
  if (metric === 'errors' || metric === 'violations') return `${(value * 100).toFixed(1)} %`;
  if (metric === 'cost') return `$${value.toPrecision(3)}`;
  return `${value.toFixed(2)} s`;
}
