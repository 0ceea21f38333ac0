import { z } from 'zod';

/** What an instant query for one number came to. `empty` and `nan` are answers without a figure; the others are no answers. */
export type Answer =
  | { kind: 'value'; value: number }
  | { kind: 'empty' }
  | { kind: 'nan'; value: number }
  | { kind: 'unreachable'; message: string }
  | { kind: 'refused'; message: string };

export interface Prometheus {
  /** One number at the server's own time. A query that gives several series is refused: sum them in the query. */
  query(promql: string): Promise<Answer>;
  /** Whether a target announces the metric, also while it has no series yet. */
  knows(metric: string): Promise<boolean | { kind: 'unreachable' | 'refused'; message: string }>;
}

export interface PrometheusOptions {
  /** Base URL, e.g. `http://prometheus:9090`. */
  url: string;
  timeoutMs?: number | undefined;
}

const DEFAULT_TIMEOUT_MS = 5_000;

/** Source: Prometheus' HTTP API, "Format overview" and "Expression query result formats". */
const envelope = z.discriminatedUnion('status', [
  z.object({ status: z.literal('success'), data: z.unknown() }),
  z.object({ status: z.literal('error'), errorType: z.string(), error: z.string() }),
]);
const sample = z.tuple([z.number(), z.string()]);
const queryResult = z.discriminatedUnion('resultType', [
  z.object({ resultType: z.literal('vector'), result: z.array(z.object({ value: sample })) }),
  z.object({ resultType: z.literal('scalar'), result: sample }),
]);
const metadata = z.record(z.string(), z.array(z.unknown()));

export function createPrometheus({ url, timeoutMs = DEFAULT_TIMEOUT_MS }: PrometheusOptions): Prometheus {
  const base = url.replace(/\/+$/, '');

  async function get(
    path: string,
    parameters: Record<string, string>,
  ): Promise<{ kind: 'data'; data: unknown } | { kind: 'unreachable' | 'refused'; message: string }> {
    let body: unknown;
    let status: number;
    try {
      const response = await fetch(`${base}${path}?${new URLSearchParams(parameters)}`, {
        signal: AbortSignal.timeout(timeoutMs),
        headers: { accept: 'application/json' },
      });
      status = response.status;
      body = await response.json();
    } catch (error) {
      return { kind: 'unreachable', message: `Prometheus does not answer: ${reasonOf(error)}` };
    }
    const parsed = envelope.safeParse(body);
    if (!parsed.success)
      return { kind: 'unreachable', message: `no Prometheus answers there (HTTP ${status})` };
    if (parsed.data.status === 'success') return { kind: 'data', data: parsed.data.data };
    // Its own overload and shutdown pass by waiting; a query that it cannot read does not.
    const passing = ['timeout', 'canceled', 'unavailable', 'internal'].includes(parsed.data.errorType);
    return { kind: passing ? 'unreachable' : 'refused', message: `Prometheus: ${parsed.data.error}` };
  }

  return {
    async query(promql) {
      const answer = await get('/api/v1/query', { query: promql, timeout: `${timeoutMs}ms` });
      if (answer.kind !== 'data') return answer;
      const parsed = queryResult.safeParse(answer.data);
      if (!parsed.success) return { kind: 'refused', message: 'the query gives no single number' };
      const { resultType, result } = parsed.data;
      const values = resultType === 'scalar' ? [result] : result.map(({ value }) => value);
      if (values.length > 1) return { kind: 'refused', message: `the query gives ${values.length} series` };
      const text = values[0]?.[1];
      if (text === undefined) return { kind: 'empty' };
      const value = toNumber(text);
      return Number.isFinite(value) ? { kind: 'value', value } : { kind: 'nan', value };
    },

    async knows(metric) {
      const answer = await get('/api/v1/metadata', { metric, limit: '1' });
      if (answer.kind !== 'data') return answer;
      const parsed = metadata.safeParse(answer.data);
      if (!parsed.success) return { kind: 'refused', message: 'Prometheus gives no metadata' };
      return (parsed.data[metric]?.length ?? 0) > 0;
    },
  };
}

function toNumber(text: string): number {
  if (text === '+Inf' || text === 'Inf') return Number.POSITIVE_INFINITY;
  return text === '-Inf' ? Number.NEGATIVE_INFINITY : Number(text);
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return 'timed out';
  const cause = error.cause as NodeJS.ErrnoException | undefined;
  return cause?.code ?? cause?.message ?? error.message;
}
