import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ArmMeasurement, guardQueries, lookAt, type Measured, readGuard } from '../../domain/guards.ts';
import { type GuardPolicy, guardMetrics } from '../../domain/policy/policy.ts';

const latency: GuardPolicy = { metric: 'latency-p95', ratio: 1.5, plus: 0.5 };
const arm = (requests: number, value: number): ArmMeasurement => ({
  requests: { value: requests },
  value: { value },
});
const MIN = 50;

test('a guard breaks above stable × ratio + plus, and not at it', () => {
  const stable = arm(900, 2);
  const at = readGuard(latency, { stable, canary: arm(100, 3.5) }, MIN);
  assert.deepEqual(
    { state: at.state, limit: at.limit, canary: at.canary, stable: at.stable, requests: at.requests },
    { state: 'ok', limit: 3.5, canary: 3.5, stable: 2, requests: { canary: 100, stable: 900 } },
  );
  const above = readGuard(latency, { stable, canary: arm(100, 3.51) }, MIN);
  assert.equal(above.state, 'failed');
  assert.equal(above.message, 'latency-p95 breached: canary 3.51 s, stable 2.00 s, limit 3.50 s');
});

test('a stable arm without a single error does not hide the errors of the canary', () => {
  const errors: GuardPolicy = { metric: 'errors', ratio: 1, plus: 0.05 };
  assert.equal(readGuard(errors, { stable: arm(900, 0), canary: arm(100, 0.06) }, MIN).state, 'failed');
  assert.equal(readGuard(errors, { stable: arm(900, 0), canary: arm(100, 0.05) }, MIN).state, 'ok');
});

test('what could not be measured is an error, never ok and never failed (invariant 4)', () => {
  const good = arm(900, 2);
  const noFigures: Measured[] = [
    { missing: 'Prometheus has no data for it' },
    { value: Number.NaN },
    { value: Number.POSITIVE_INFINITY },
    { value: Number.NEGATIVE_INFINITY },
  ];
  for (const none of noFigures) {
    for (const measurement of [
      { canary: { ...good, value: none }, stable: good },
      { canary: good, stable: { ...good, value: none } },
      { canary: { ...good, requests: none }, stable: good },
      { canary: good, stable: { ...good, requests: none } },
    ]) {
      const reading = readGuard(latency, measurement, MIN);
      assert.equal(reading.state, 'error', JSON.stringify(measurement));
      assert.match(reading.message, /could not be measured on the (canary|stable) arm: /);
      assert.equal(reading.limit, null);
    }
  }
});

test('an arm without traffic is an error, also when its value looks bad', () => {
  const reading = readGuard(latency, { canary: arm(0, 99), stable: arm(900, 1) }, MIN);
  assert.deepEqual([reading.state, reading.message], ['error', 'latency-p95: the canary arm has no traffic']);
  assert.equal(readGuard(latency, { canary: arm(900, 1), stable: arm(0, 1) }, MIN).state, 'error');
});

test('too few requests on either arm have nothing to say yet', () => {
  const few = readGuard(latency, { canary: arm(49.9, 99), stable: arm(900, 1) }, MIN);
  assert.equal(few.state, 'waiting');
  assert.equal(few.message, 'latency-p95: too few requests yet, 49 of 50 on the canary arm');
  assert.equal(readGuard(latency, { canary: arm(50, 99), stable: arm(49, 1) }, MIN).state, 'waiting');
  assert.equal(readGuard(latency, { canary: arm(50, 99), stable: arm(50, 1) }, MIN).state, 'failed');
});

test('an application that does not stream has no time to first token; one arm alone that does not is an error', () => {
  const ttft: GuardPolicy = { metric: 'ttft-p95', ratio: 2, plus: 0.25 };
  const silent = (all: number): ArmMeasurement => ({
    requests: { value: 0 },
    value: { missing: 'Prometheus has no data for it' },
    population: { value: all },
  });
  const streaming = { ...arm(100, 0.2), population: { value: 200 } };
  const none = readGuard(ttft, { canary: silent(100), stable: silent(900) }, MIN);
  assert.deepEqual(
    [none.state, none.message],
    ['waiting', 'ttft-p95: no request of either arm was streamed'],
  );
  assert.equal(readGuard(ttft, { canary: silent(100), stable: streaming }, MIN).state, 'error');
  assert.equal(readGuard(ttft, { canary: streaming, stable: silent(900) }, MIN).state, 'error');
  assert.equal(readGuard(ttft, { canary: silent(0), stable: silent(0) }, MIN).state, 'error');
});

test('in one look a breach counts more than what could not be measured, and that more than waiting', () => {
  const readings = {
    failed: readGuard(latency, { canary: arm(100, 9), stable: arm(100, 1) }, MIN),
    error: readGuard(latency, { canary: arm(0, 9), stable: arm(100, 1) }, MIN),
    waiting: readGuard(latency, { canary: arm(1, 9), stable: arm(100, 1) }, MIN),
    ok: readGuard(latency, { canary: arm(100, 1), stable: arm(100, 1) }, MIN),
  };
  const { failed, error, waiting, ok } = readings;
  assert.equal(lookAt([ok, waiting, error, failed]).state, 'failed');
  assert.equal(lookAt([ok, waiting, error]).state, 'error');
  assert.equal(lookAt([ok, waiting]).state, 'waiting');
  assert.equal(lookAt([ok, ok]).state, 'ok');
  assert.equal(lookAt([ok, error, failed]).message, failed.message);
  assert.equal(lookAt([]).state, 'ok');
});

test('whatever is measured, a state other than failed or ok has no limit, and failed has figures', () => {
  const measured = fc.oneof(
    fc.double().map((value) => ({ value })),
    fc.constant({ missing: 'down' }),
  );
  const measurement = fc.record({ requests: measured, value: measured });
  fc.assert(
    fc.property(fc.constantFrom(...guardMetrics), measurement, measurement, (metric, canary, stable) => {
      const { state, limit, ...reading } = readGuard(
        { metric, ratio: 1.2, plus: 0 },
        { canary, stable },
        MIN,
      );
      assert.equal(limit !== null, state === 'ok' || state === 'failed');
      if (limit === null) return;
      assert.ok((reading.requests.canary ?? 0) >= MIN && (reading.requests.stable ?? 0) >= MIN);
      assert.equal(state === 'failed', (reading.canary ?? Number.NaN) > limit);
    }),
  );
});

test('each metric is asked for one arm of one revision of one application, over one window', () => {
  const selector = {
    application: 'a "b"',
    arm: 'canary',
    revision: `sha256:${'0123456789ab'.repeat(5)}cdef`,
  } as const;
  const labels = '{application="a \\"b\\"",arm="canary",revision=~"(sha256:)?0123456789ab.*"}[300s]';
  const asked = Object.fromEntries(
    guardMetrics.map((metric) => [metric, guardQueries(metric, selector, 300_000)]),
  );
  assert.equal(
    asked.errors?.value,
    `sum(increase(llm_requests_failed_total${labels})) / sum(increase(llm_requests_total${labels}))`,
  );
  assert.equal(asked.errors?.requests, `sum(increase(llm_requests_total${labels}))`);
  assert.equal(asked.errors?.zeroIfAbsent, 'llm_requests_failed_total');
  assert.equal(
    asked['ttft-p95']?.value,
    `histogram_quantile(0.95, sum by (le) (rate(llm_ttft_seconds_bucket${labels})))`,
  );
  assert.equal(asked['ttft-p95']?.requests, `sum(increase(llm_ttft_seconds_count${labels}))`);
  assert.equal(asked['ttft-p95']?.zeroIfAbsent, null);
  assert.deepEqual(asked['ttft-p95']?.population, {
    requests: `sum(increase(llm_requests_total${labels}))`,
    metric: 'llm_ttft_seconds',
  });
});
