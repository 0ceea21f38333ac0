import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { shortDigest } from '../domain/digest.ts';
import type { ArmTarget } from '../domain/routing.ts';
import type { AttachedScore, SampleRecord } from '../store/ledger.ts';
import { type InUse, UnusedSeries } from './unused-series.ts';
import { failureReasons, type RetryReason, retryReasons } from './upstream.ts';

/** Tenants, and evaluators, that get a label of their own; the others share `other`, so that the number of series stays bounded. */
const LABELLED = 100;

/** Requests that were refused before they had an arm. */
export type Refusal = 'unauthenticated' | 'invalid_request' | 'unknown_application' | 'spool_full';

const SECONDS = [0.1, 0.5, 1, 2, 5, 10, 30, 60];

/** The labels of everything that is compared between arms. */
const armLabels = ['application', 'model', 'revision', 'arm', 'endpoint'] as const;

/** The gateway's metrics: names, buckets and labels that dashboards, alerts and the release's guards rely on. */
export class Metrics {
  readonly registry = new Registry();
  readonly #unused = new UnusedSeries(this.registry);
  readonly #tenants = new Set<string>();
  readonly #evaluators = new Set<string>();
  /** Metrics with their labels, bound once: looking labels up costs more than counting. */
  readonly #bound = new Map<string, Bound>();

  readonly requests = this.#counter('llm_requests_total', 'Requests that ended, by the arm assigned', [
    ...armLabels,
    'tenant',
  ]);
  readonly failed = this.#counter(
    'llm_requests_failed_total',
    'Requests that failed, by why; those refused before they had an arm have an empty one',
    [...armLabels, 'reason'],
  );
  readonly cancelled = this.#counter(
    'llm_requests_cancelled_total',
    'Answers that the client left in the middle',
    armLabels,
  );
  readonly retries = this.#counter(
    'llm_upstream_retries_total',
    'Requests that were sent to another endpoint because this one failed before the client had a byte of the answer',
    [...armLabels, 'reason'],
  );
  readonly violations = this.#counter(
    'llm_guardrail_violations_total',
    'Guardrail violations, by their type; nothing is checked yet, so 0 says nothing',
    [...armLabels, 'violation_type'],
  );
  readonly withoutUser = this.#counter(
    'llm_requests_without_user_total',
    'Requests without a user: served, and out of the gate',
    ['application'],
  );
  readonly latency = this.#histogram(
    'llm_request_latency_seconds',
    'Arrival to end of answers in full',
    SECONDS,
  );
  readonly ttft = this.#histogram(
    'llm_ttft_seconds',
    'Arrival to the first content of a stream',
    [0.05, 0.1, 0.2, 0.5, 1, 2, 5],
  );
  readonly tpot = this.#histogram(
    'llm_time_per_output_token_seconds',
    'Time per token of a stream after the first',
    [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5],
  );
  readonly cost = this.#histogram(
    'llm_request_cost_dollars',
    "Cost by the engine's usage and the revision's price",
    [0.00001, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1],
    ['tenant'],
  );
  readonly tokens = this.#counter('llm_tokens_total', "Tokens by the engine's usage", [
    ...armLabels,
    'tenant',
    'direction',
  ]);
  readonly quality = new Histogram({
    name: 'llm_quality_score',
    help: 'Scores that tenants gave to answers',
    labelNames: ['application', 'revision', 'arm', 'evaluator'],
    buckets: [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1],
    registers: [this.registry],
  });
  readonly active = this.#gauge('llm_active_connections', 'Requests that are being served');

  readonly routeGeneration = this.#gauge(
    'slipway_gateway_route_generation',
    'Generation of the route table in use',
  );
  readonly stableOnly = this.#gauge(
    'slipway_gateway_stable_only',
    '1 while the gateway has lost touch with the route table and serves the stable arm only',
  );
  readonly spoolRecords = this.#counter('slipway_spool_records_total', 'Records that left the spool', [
    'result',
  ]);

  constructor() {
    collectDefaultMetrics({ register: this.registry });
  }

  /** Counts a request that has ended. */
  observe(record: SampleRecord, target: ArmTarget): void {
    const bound = this.#bind(record, target);
    bound.requests.inc();
    if (record.failed) {
      this.failed.inc({ ...bound.labels, reason: record.reason ?? '' });
    } else if (record.interrupted) {
      this.cancelled.inc(bound.labels);
    } else {
      bound.latency.observe(record.latency);
    }
    if (record.user === null) this.withoutUser.inc({ application: record.application });
    if (record.ttft !== null) bound.ttft.observe(record.ttft);
    if (record.tpot !== null) bound.tpot.observe(record.tpot);
    if (record.cost !== null) bound.cost.observe(record.cost);
    if (record.promptTokens !== null) bound.input.inc(record.promptTokens);
    if (record.completionTokens !== null) bound.output.inc(record.completionTokens);
  }

  refused(reason: Refusal): void {
    const labels = { application: '', model: '', revision: '', arm: '', endpoint: '' };
    this.requests.inc({ ...labels, tenant: '' });
    this.failed.inc({ ...labels, reason });
  }

  /** A request leaves an endpoint that failed it, for another one. */
  retried(sample: ArmSample, reason: RetryReason): void {
    this.retries.inc({ ...labelsOf(sample), reason });
  }

  /** Tells whether the gateway hears of the cluster's endpoints; without a cluster there is no such series. */
  followCluster(cluster: { readonly healthy: boolean }): void {
    new Gauge({
      name: 'slipway_gateway_cluster_followed',
      help: "1 while the gateway hears of the cluster's endpoints, 0 while it goes on with the last it knew",
      registers: [this.registry],
      collect() {
        this.set(cluster.healthy ? 1 : 0);
      },
    });
  }

  followSpool(spool: { readonly bytes: number }): void {
    new Gauge({
      name: 'slipway_spool_bytes',
      help: 'Records that wait to be moved to the ledger',
      registers: [this.registry],
      collect() {
        this.set(spool.bytes);
      },
    });
  }

  scored({ application, revision, arm, evaluator, score }: AttachedScore): void {
    this.quality.observe(
      {
        application,
        revision: shortDigest(revision),
        arm: arm ?? 'none',
        evaluator: bounded(evaluator, this.#evaluators),
      },
      score,
    );
  }

  /** Drops the series of what has been out of use for an hour. @param now ms, only compared with those of other calls */
  async forget(inUse: InUse, now: number): Promise<void> {
    const dropped = await this.#unused.drop(inUse, now);
    for (const [key, { labels }] of this.#bound) {
      if (dropped(labels)) this.#bound.delete(key);
    }
  }

  #bind(record: SampleRecord, target: ArmTarget): Bound {
    const tenant = bounded(record.tenant, this.#tenants);
    const key = `${record.application}\0${record.revision}\0${record.arm}\0${record.endpoint}\0${tenant}`;
    let bound = this.#bound.get(key);
    if (bound === undefined) {
      bound = bind(this, record, target.servedModel, tenant);
      this.#bound.set(key, bound);
    }
    return bound;
  }

  #counter<T extends string>(name: string, help: string, labelNames: readonly T[]): Counter<T> {
    return new Counter({ name, help, labelNames, registers: [this.registry] });
  }

  #histogram(name: string, help: string, buckets: number[], more: string[] = []): Histogram {
    return new Histogram({
      name,
      help,
      buckets,
      labelNames: [...armLabels, ...more],
      registers: [this.registry],
    });
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name, help, registers: [this.registry] });
  }
}

function bounded(name: string, labelled: Set<string>): string {
  if (labelled.has(name)) return name;
  if (labelled.size >= LABELLED) return 'other';
  labelled.add(name);
  return name;
}

/** Whose request it is, and where it was sent. */
export interface ArmSample extends Pick<SampleRecord, 'application' | 'revision' | 'arm' | 'endpoint'> {
  model: string;
}

function labelsOf({ application, model, revision, arm, endpoint }: ArmSample) {
  return {
    application,
    model,
    revision: shortDigest(revision),
    arm: arm ?? 'none',
    endpoint: endpoint ?? '',
  };
}

type Bound = ReturnType<typeof bind>;

function bind(metrics: Metrics, record: SampleRecord, model: string, tenant: string) {
  const labels = labelsOf({ ...record, model });
  // From zero on, so that the first failure is an increase and the absence of any is a measured zero.
  for (const reason of failureReasons) metrics.failed.inc({ ...labels, reason }, 0);
  for (const reason of retryReasons) metrics.retries.inc({ ...labels, reason }, 0);
  // Not measured yet: the guard on violations takes it for 0 and sees nothing.
  metrics.violations.inc({ ...labels, violation_type: '' }, 0);
  return {
    labels,
    requests: metrics.requests.labels({ ...labels, tenant }),
    latency: metrics.latency.labels(labels),
    ttft: metrics.ttft.labels(labels),
    tpot: metrics.tpot.labels(labels),
    cost: metrics.cost.labels({ ...labels, tenant }),
    input: metrics.tokens.labels({ ...labels, tenant, direction: 'input' }),
    output: metrics.tokens.labels({ ...labels, tenant, direction: 'output' }),
  };
}
