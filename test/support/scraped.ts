import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Counter, Histogram, Registry } from 'prom-client';
import type { Arm } from '../../domain/words.ts';

const labelNames = ['application', 'revision', 'arm', 'tenant'];

export interface Served {
  seconds: number;
  dollars: number;
  /** Of a streamed request. */
  ttftSeconds?: number | undefined;
  /** Left out: the counter of failures has no series for these labels. */
  fails?: boolean | undefined;
  /** Likewise of guardrail violations. */
  violates?: boolean | undefined;
}

/** A process that Prometheus scrapes, with the gateway's metrics as far as the guards ask for them. */
export async function startScraped() {
  const registry = new Registry();
  const registers = [registry];
  const counter = (name: string, more: string[] = []) =>
    new Counter({ name, help: name, labelNames: [...labelNames, ...more], registers });
  const histogram = (name: string, buckets: number[]) =>
    new Histogram({ name, help: name, labelNames, buckets, registers });
  const requests = counter('llm_requests_total');
  const failed = counter('llm_requests_failed_total', ['reason']);
  // Known to Prometheus only when a test speaks of violations: a metric that nobody has is not zero.
  let violations: ReturnType<typeof counter> | undefined;
  const latency = histogram('llm_request_latency_seconds', [0.1, 0.5, 1, 2, 5, 10, 30, 60]);
  const ttft = histogram('llm_ttft_seconds', [0.05, 0.1, 0.2, 0.5, 1, 2, 5]);
  const cost = histogram('llm_request_cost_dollars', [0.001, 0.01, 0.1]);
  const server = createServer(async (_request, response) => {
    response.setHeader('content-type', registry.contentType).end(await registry.metrics());
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));

  return {
    target: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    /** One request of an arm. */
    serve(
      subject: { application: string; arm: Arm; revision: string; tenant?: string },
      { seconds, dollars, ttftSeconds, fails, violates }: Served,
    ): void {
      const labels = { tenant: 'a', ...subject };
      requests.inc(labels);
      if (fails !== undefined) failed.inc({ ...labels, reason: 'upstream' }, fails ? 1 : 0);
      if (violates !== undefined) {
        violations ??= counter('llm_guardrail_violations_total', ['violation_type']);
        violations.inc({ ...labels, violation_type: 'pii' }, violates ? 1 : 0);
      }
      latency.observe(labels, seconds);
      cost.observe(labels, dollars);
      if (ttftSeconds !== undefined) ttft.observe(labels, ttftSeconds);
    },
    stop: async (): Promise<void> => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
