import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type GuardSubject, measureGuards } from '../../activities/guards.ts';
import { createPrometheus } from '../../adapters/prometheus/prometheus.ts';
import { digestOf, shortDigest } from '../../domain/digest.ts';
import type { GuardLook, GuardReading, GuardState } from '../../domain/guards.ts';
import type { GuardMetric } from '../../domain/policy/policy.ts';
import type { Arm } from '../../domain/words.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { type Served, startScraped } from '../support/scraped.ts';
import { until } from '../support/servings.ts';
import { startPrometheus, type TestPrometheus } from '../support/stack.ts';

let server: TestPrometheus;
let scraped: Awaited<ReturnType<typeof startScraped>>;

before(async () => {
  scraped = await startScraped();
  server = await startPrometheus([{ targets: [scraped.target], labels: { job: 'gateway' } }], {
    scrapeIntervalMs: 200,
  });
});
after(async () => {
  await server?.stop();
  await scraped.stop();
});

const prometheus = () => createPrometheus({ url: server.url, timeoutMs: PATIENCE_MS });
const revisions = { stable: digestOf('stable'), canary: digestOf('canary') };

const guardOf = (metric: GuardMetric) =>
  ({
    errors: { metric, ratio: 1, plus: 0.05 },
    'latency-p95': { metric, ratio: 1.5, plus: 0.5 },
    'ttft-p95': { metric, ratio: 2, plus: 0.25 },
    violations: { metric, ratio: 1, plus: 0.05 },
    cost: { metric, ratio: 1.5, plus: 0 },
  })[metric];

const subjectOf = (application: string, ...metrics: GuardMetric[]): GuardSubject => ({
  application,
  ...revisions,
  policy: { guards: metrics.map(guardOf), guardWindow: 60_000, guardMinRequests: 20 },
});

/** So many requests on an arm, in several steps, so that every series is scraped before and after. */
type Behaviour = Omit<Served, 'fails'> & { failEvery?: number };
interface Traffic {
  stable?: Behaviour;
  canary?: Behaviour;
}

async function withTraffic<T>(
  application: string,
  traffic: Traffic,
  work: (look: (...metrics: GuardMetric[]) => Promise<GuardLook>) => Promise<T>,
): Promise<T> {
  let count = 0;
  const serve = (): void => {
    count += 1;
    for (const arm of ['stable', 'canary'] as const satisfies Arm[]) {
      const behaviour = traffic[arm];
      if (behaviour === undefined) continue;
      const { failEvery, ...served } = behaviour;
      const fails = failEvery === undefined ? undefined : count % failEvery === 0;
      const revision = shortDigest(revisions[arm]);
      scraped.serve(
        { application, arm, revision, tenant: count % 2 === 0 ? 'a' : 'b' },
        { ...served, fails },
      );
    }
  };
  const timer = setInterval(serve, 5);
  try {
    return await work((...metrics) => measureGuards(prometheus(), subjectOf(application, ...metrics)));
  } finally {
    clearInterval(timer);
  }
}

const states = ({ readings }: GuardLook): Partial<Record<GuardMetric, GuardState>> =>
  Object.fromEntries(readings.map(({ metric, state }) => [metric, state]));

const readingOf = (look: GuardLook, metric: GuardMetric): GuardReading =>
  look.readings.find((reading) => reading.metric === metric) ?? assert.fail(`no reading of ${metric}`);

test('both arms alike are ok, with the figures of each', async () => {
  await withTraffic(
    'alike',
    { stable: { seconds: 0.8, dollars: 0.002 }, canary: { seconds: 0.8, dollars: 0.002 } },
    async (look) => {
      const all = () => look('errors', 'latency-p95', 'cost');
      const seen = await until('ok', all, ({ state }) => state === 'ok');
      const latency = readingOf(seen, 'latency-p95');
      // Interpolated within the bucket from 0.5 to 1 s: Prometheus' histogram_quantile.
      assert.ok(Math.abs((latency.canary ?? 0) - 0.975) < 1e-9, String(latency.canary));
      assert.ok(Math.abs((readingOf(seen, 'cost').stable ?? 0) - 0.002) < 1e-9);
      assert.equal(readingOf(seen, 'errors').canary, 0);
      assert.ok((latency.requests.canary ?? 0) >= 20);
    },
  );
});

test('a canary that fails, is slow and is dear breaks its guards; a stable arm that fails as much does not save its latency', async () => {
  const traffic = {
    stable: { seconds: 0.3, dollars: 0.002, failEvery: 4 },
    canary: { seconds: 8, dollars: 0.02, failEvery: 4 },
  };
  await withTraffic('worse', traffic, async (look) => {
    const all = () => look('errors', 'latency-p95', 'cost');
    const seen = await until(
      'breached',
      all,
      (now) => now.state === 'failed' && states(now).errors === 'ok' && states(now).cost === 'failed',
    );
    assert.deepEqual(states(seen), { errors: 'ok', 'latency-p95': 'failed', cost: 'failed' });
    assert.match(seen.message, /latency-p95 breached: canary .* s, stable .* s, limit .* s; cost breached/);
  });
  await withTraffic(
    'failing',
    { stable: { seconds: 1, dollars: 0.001 }, canary: { seconds: 1, dollars: 0.001, failEvery: 3 } },
    async (look) => {
      const seen = await until(
        'errors',
        () => look('errors'),
        ({ state }) => state === 'failed',
      );
      const errors = readingOf(seen, 'errors');
      assert.equal(errors.stable, 0);
      assert.ok(Math.abs((errors.canary ?? 0) - 1 / 3) < 0.1, String(errors.canary));
    },
  );
});

test('before there is enough traffic there is nothing to say, and then there is', async () => {
  const order: GuardState[] = [];
  await withTraffic(
    'young',
    { stable: { seconds: 1, dollars: 0.001 }, canary: { seconds: 1, dollars: 0.001 } },
    (look) =>
      until(
        'enough',
        async () => {
          const seen = await look('latency-p95');
          if (order.at(-1) !== seen.state) order.push(seen.state);
          return seen;
        },
        ({ state }) => state === 'ok',
      ),
  );
  assert.equal(order[0], 'error');
  assert.equal(order.at(-1), 'ok');
  assert.equal(order.includes('failed'), false);
});

test('what cannot be measured is an error with its reason: one arm only, an unknown metric, another application', async () => {
  await withTraffic('one-armed', { stable: { seconds: 1, dollars: 0.001 } }, async (look) => {
    const seen = await until(
      'stable measured',
      () => look('latency-p95', 'errors'),
      (now) => (readingOf(now, 'latency-p95').requests.stable ?? 0) > 20,
    );
    assert.deepEqual(states(seen), { 'latency-p95': 'error', errors: 'error' });
    assert.match(seen.message, /could not be measured on the canary arm: Prometheus has no data for it/);
  });
  const both = { stable: { seconds: 1, dollars: 0.001 }, canary: { seconds: 1, dollars: 0.001 } };
  await withTraffic('renamed', both, async (look) => {
    await until(
      'measured',
      () => look('latency-p95'),
      ({ state }) => state === 'ok',
    );
    // The counter of errors is announced and has counted nothing for this application; that of violations does not exist here.
    const seen = await look('errors', 'violations');
    assert.deepEqual(states(seen), { errors: 'ok', violations: 'error' });
    assert.match(
      readingOf(seen, 'violations').message,
      /Prometheus knows no metric llm_guardrail_violations_total/,
    );
  });
  const nobody = await measureGuards(prometheus(), subjectOf('nobody', 'errors', 'cost'));
  assert.equal(nobody.state, 'error');
});

test('time to first token is measured on streams; without any there is nothing to say, with one arm alone there is an error', async () => {
  const plain = { seconds: 1, dollars: 0.001 };
  const streamed = { ...plain, ttftSeconds: 0.15 };
  const ttftOf = (application: string, traffic: Traffic, state: GuardState, text: RegExp) =>
    withTraffic(application, traffic, (look) =>
      until(
        state,
        () => look('ttft-p95'),
        (seen) => seen.state === state && text.test(seen.message),
      ),
    );
  await ttftOf('plain', { stable: plain, canary: plain }, 'waiting', /no request of either arm was streamed/);
  await ttftOf('half', { stable: streamed, canary: plain }, 'error', /the canary arm has no traffic/);
  await ttftOf('streamed', { stable: streamed, canary: streamed }, 'ok', /canary 0\.20 s, stable 0\.20 s/);
  const slow = { ...plain, ttftSeconds: 3 };
  await ttftOf('slow', { stable: streamed, canary: slow }, 'failed', /ttft-p95 breached/);
});

test('Prometheus stopped: every guard is an error that says so; started again, it measures by itself', async () => {
  await withTraffic(
    'outage',
    { stable: { seconds: 1, dollars: 0.001 }, canary: { seconds: 1, dollars: 0.001 } },
    async (look) => {
      await until(
        'ok',
        () => look('errors', 'cost'),
        ({ state }) => state === 'ok',
      );
      await server.process.kill('SIGKILL');
      const down = await look('errors', 'cost');
      assert.deepEqual(states(down), { errors: 'error', cost: 'error' });
      assert.match(down.message, /Prometheus does not answer: ECONNREFUSED/);
      await server.process.start();
      await until(
        'ok again',
        () => look('errors', 'cost'),
        ({ state }) => state === 'ok',
      );
    },
  );
});
