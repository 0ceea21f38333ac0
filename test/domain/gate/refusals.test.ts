import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GateSample } from '../../../domain/gate/collect.ts';
import { look } from '../../../domain/gate/look.ts';
import type { GateMetric, ReasonCode } from '../../../domain/gate/types.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import { DAY, error, figures, latency, latencyP95, planOf, quality, START, week } from './fixtures.ts';

/** Invariant 4: no verdict from missing data. Each flaw is put into a week that would be promoted without it. */

const healthy = [...week({ users: 4000, seed: 7 })];
const metrics = [
  { ...quality, margin: 0.05 },
  { ...error, margin: 0.02 },
];
const plan = planOf(metrics);

type Options = Parameters<typeof figures>[2];

function verdictOf(
  samples: GateSample[],
  options: Options = {},
  judged: GateMetric[] = metrics,
  horizon = 0,
) {
  return judge(planOf(judged), figures(samples, judged, options), horizon);
}

function refused(
  samples: GateSample[],
  code: ReasonCode,
  decision: 'continue' | 'invalid',
  options: Options = {},
) {
  const verdict = verdictOf(samples, options);
  assert.equal(verdict.decision, decision);
  const reason = verdict.reasons.find((candidate) => candidate.code === code);
  assert.ok(reason, `no reason ${code} among ${verdict.reasons.map((r) => r.code).join(', ')}`);
  assert.ok(reason.words.length > 10);
  // At the last horizon the same data never promote either.
  const last = judge(planOf(metrics, { horizons: [7 * DAY] }), figures(samples, metrics, options), 0);
  assert.notEqual(last.decision, 'promote');
}

const replace = (values: (sample: GateSample, index: number) => Record<string, number>) =>
  healthy.map((sample, index) => ({ ...sample, values: values(sample, index) }));

test('the unflawed week is promoted', () => {
  const verdict = verdictOf(healthy);
  assert.equal(verdict.decision, 'promote');
  assert.deepEqual(
    verdict.reasons.map(({ code, guard }) => [code, guard]),
    [
      ['non-inferior', 'quality:judge'],
      ['non-inferior', 'error'],
    ],
  );
});

test('one arm', () => {
  refused(
    healthy.filter(({ arm }) => arm === 'stable'),
    'one-arm',
    'invalid',
  );
  // With little traffic a missing arm is not a broken ratio yet, but still one arm.
  refused(
    healthy.slice(0, 40).map((sample) => ({ ...sample, arm: 'stable' })),
    'one-arm',
    'continue',
  );
});

test('no samples', () => {
  refused([], 'no-samples', 'continue');
});

test('zero variance', () => {
  refused(
    replace(({ values }) => ({ ...values, 'quality:judge': 0.7 })),
    'zero-variance',
    'continue',
  );
  refused(
    replace(({ values }) => ({ ...values, error: 1 })),
    'zero-variance',
    'continue',
  );
});

test('zero variance in one arm is never promoted; if it is a disaster it is stopped all the same', () => {
  const constant = (score: number) =>
    replace(({ arm, values }) => (arm === 'canary' ? { ...values, 'quality:judge': score } : { ...values }));
  refused(constant(0.7), 'zero-variance', 'continue');
  refused(constant(1), 'zero-variance', 'continue');
  const empty = verdictOf(constant(0));
  assert.equal(empty.decision, 'rollback');
  assert.ok(empty.reasons.some(({ code, guard }) => code === 'harm' && guard === 'quality:judge'));
});

for (const [name, value, code] of [
  ['NaN', Number.NaN, 'not-finite'],
  ['infinity', Number.POSITIVE_INFINITY, 'infinite'],
  ['minus infinity', Number.NEGATIVE_INFINITY, 'infinite'],
] as const) {
  test(`one value of ${name}`, () => {
    refused(
      replace(({ values }, index) => (index === 500 ? { ...values, 'quality:judge': value } : { ...values })),
      code,
      'invalid',
    );
  });
}

test('a rate that is neither 0 nor 1', () => {
  refused(
    replace(({ values }, index) => (index === 500 ? { ...values, error: 0.5 } : { ...values })),
    'out-of-range',
    'invalid',
  );
});

test('one user in an arm', () => {
  const canary = healthy.find(({ arm }) => arm === 'canary')?.user;
  refused(
    healthy.filter(({ arm, user }) => arm === 'stable' || user === canary).slice(0, 100),
    'one-user',
    'continue',
  );
});

test('too few users, too few samples', () => {
  const some = healthy.slice(0, 2000);
  refused(some, 'too-few-users', 'continue');
  refused(some, 'too-few-samples', 'continue');
});

test("all that the data can say is not enough below the policy's users or samples", () => {
  const decided = (changes: Parameters<typeof planOf>[1]) =>
    judge(planOf(metrics, changes), figures(healthy, metrics), 0);
  const { arms } = decided({});
  const cases: [Parameters<typeof planOf>[1], string, ReasonCode][] = [
    [{ minUsers: arms.canary.users, minSamples: arms.canary.samples }, 'promote', 'non-inferior'],
    [{ minUsers: arms.canary.users + 1 }, 'continue', 'too-few-users'],
    [{ minSamples: arms.canary.samples + 1 }, 'continue', 'too-few-samples'],
  ];
  for (const [changes, decision, code] of cases) {
    const verdict = decided(changes);
    assert.equal(verdict.decision, decision);
    assert.ok(verdict.reasons.some((reason) => reason.code === code));
  }
});

test('below 100 users in an arm a guard waits, however bad it looks; from then on it stops', () => {
  const bad = replace(({ arm, values }) => ({
    ...values,
    'quality:judge': (values['quality:judge'] ?? 0) - (arm === 'canary' ? 0.4 : 0),
  })) as GateSample[];
  const canary = [...new Set(bad.filter(({ arm }) => arm === 'canary').map(({ user }) => user))];
  const lookWith = (users: number) => {
    const kept = new Set(canary.slice(0, users));
    return look(
      plan,
      figures(
        bad.filter(({ arm, user }) => arm === 'stable' || kept.has(user)),
        metrics,
      ),
      START + 7 * DAY,
    );
  };
  const [early, later] = [lookWith(99), lookWith(100)];
  assert.equal(early.harm, false);
  assert.equal(early.guards[0]?.reason?.code, 'too-few-users');
  assert.equal(early.guards[0]?.state, 'ok');
  assert.equal(later.guards[0]?.breached, true);
  assert.equal(later.state, 'Failed');
});

test('a broken sample ratio', () => {
  const lost = (user: string) => Number(user.slice(1)) % 4 === 0;
  refused(
    healthy.filter(({ arm, user }) => arm === 'stable' || !lost(user)),
    'sample-ratio',
    'invalid',
  );
});

test('a broken sample ratio is not taken for first errors on the canary', () => {
  // Half of all users on a canary that was planned for a tenth, and half of the users who meet an error: no harm, but no experiment either.
  const even = healthy
    .filter(({ arm, user }) => arm === 'canary' || Number(user.slice(1)) % 8 === 0)
    .map((sample, index) => ({
      ...sample,
      values: { ...sample.values, error: index % 20 === 0 ? 1 : 0 },
    }));
  refused(even, 'sample-ratio', 'invalid');
});

test('a sample ratio that only the sharper test at the horizon sees', () => {
  const lost = (user: string) => Number(user.slice(1)) % 6 === 0;
  const data = figures(
    healthy.filter(({ arm, user }) => arm === 'stable' || !lost(user)),
    metrics,
  );
  assert.equal(look(plan, data, data.totals.to).sampleRatio.broken, false);
  const verdict = judge(plan, data, 0);
  assert.ok(verdict.sampleRatio.pValue < 0.001);
  assert.equal(verdict.decision, 'invalid');
});

test('a metric renamed half-way, in one arm or in both, is named', () => {
  const cases = [
    [['canary'], 'metric-missing', 'invalid'],
    [['stable', 'canary'], 'metric-silent', 'continue'],
  ] as const;
  for (const [arms, code, decision] of cases) {
    const renamed = healthy.map((sample) => {
      if (sample.at < START + 3 * DAY || !arms.some((arm) => arm === sample.arm)) return sample;
      const { 'quality:judge': score, ...values } = sample.values;
      return { ...sample, values: { ...values, 'quality:helpful': score ?? 0 } };
    });
    refused(renamed, code, decision);
    const words = verdictOf(renamed).reasons.find((reason) => reason.code === code)?.words;
    assert.match(words ?? '', /quality:helpful/);
  }
});

test('clocks that jump: back before the canary, ahead of the watermark, ahead of the look', () => {
  const jumped = (by: number) =>
    healthy.map((sample, index) => (index === 500 ? { ...sample, at: sample.at + by } : sample));
  refused(jumped(-30 * DAY), 'clock', 'invalid');
  refused(jumped(30 * DAY), 'clock', 'invalid');
  const seen = look(plan, figures(healthy, metrics), START + 6 * DAY);
  assert.equal(seen.state, 'Error');
  assert.equal(seen.harm, false);
  assert.deepEqual(
    seen.reasons.map(({ code }) => code),
    ['clock'],
  );
});

test('a weight that the plan does not know of', () => {
  const data = figures(healthy, metrics, {
    phases: [
      { since: START, weight: 0.1 },
      { since: START + 3 * DAY, weight: 0.1 },
    ],
  });
  data.totals.phases.pop();
  assert.equal(judge(plan, data, 0).decision, 'invalid');
});

test('before the horizon nothing is promoted, at the last one nothing continues', () => {
  const early = verdictOf(healthy, { to: START + 7 * DAY - 1 });
  assert.equal(early.decision, 'continue');
  assert.ok(early.reasons.some(({ code }) => code === 'not-yet-horizon'));
  const few = healthy.slice(0, 2000);
  const last = verdictOf(few, { to: START + 28 * DAY }, metrics, 3);
  assert.equal(last.decision, 'rollback');
  assert.ok(last.reasons.some(({ code }) => code === 'horizons-spent'));
});

test('a success metric must be better', () => {
  const success: GateMetric = { ...quality, margin: 0.05, role: 'success' };
  const [, error] = metrics;
  assert.ok(error);
  assert.equal(verdictOf(healthy, {}, [success, error]).decision, 'continue');
  const better = replace(
    ({ arm, values }) =>
      ({
        ...values,
        'quality:judge': (values['quality:judge'] ?? 0) + (arm === 'canary' ? 0.02 : 0),
      }) as Record<string, number>,
  );
  const verdict = verdictOf(better, {}, [success, error]);
  assert.equal(verdict.decision, 'promote');
  assert.ok(verdict.reasons.some(({ code }) => code === 'superior'));
});

test('no error at all is healthy: promoted with enough users, continued with too few', () => {
  const clean = [...week({ users: 16_000, seed: 3, errorRate: 0, requestsPerDay: 1 })];
  const promoted = verdictOf(clean, {}, [error]);
  assert.equal(promoted.decision, 'promote');
  const guard = promoted.guards[0];
  assert.ok(guard?.interval && guard.interval[0] < 0 && guard.interval[1] > 0);
  const few = clean.filter(({ user }) => Number(user.slice(1)) < 4000);
  const verdict = verdictOf(few, {}, [error]);
  assert.equal(verdict.decision, 'continue');
  assert.ok(verdict.reasons.some(({ code }) => code === 'not-non-inferior'));
  const needed = planOf([error]).guards[0]?.canaryUsersIfNoEvent ?? 0;
  // 736 = ln .025 / ln .995 if all were equally active; nobody said so, so twice as many.
  assert.equal(needed, 1472);
});

test('histograms that do not hold every sample', () => {
  const data = figures(healthy, [latency, latencyP95]);
  const plan = planOf([latency, latencyP95]);
  assert.equal(judge(plan, data, 0).decision, 'promote');
  const [first] = data.totals.buckets;
  if (first) first.n += 1;
  const verdict = judge(plan, data, 0);
  assert.equal(verdict.decision, 'invalid');
  assert.ok(verdict.reasons.some(({ code, guard }) => code === 'metric-missing' && guard === 'latency/p95'));
});
