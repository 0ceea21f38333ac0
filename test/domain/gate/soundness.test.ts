import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GateSample } from '../../../domain/gate/collect.ts';
import { coverageOf } from '../../../domain/gate/coverage.ts';
import type { UnusableSamples } from '../../../domain/gate/figures.ts';
import { look } from '../../../domain/gate/look.ts';
import {
  bothArms,
  clockJump,
  coverageProblems,
  histogramProblem,
  unevenScores,
} from '../../../domain/gate/soundness.ts';
import type { GateFigures, GateMetric, GateTotals, ReasonCode } from '../../../domain/gate/types.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import type { Arm } from '../../../domain/words.ts';
import { DAY, error, figures, latencyP95, planOf, quality, randomFrom, START, week } from './fixtures.ts';

/** Data that are partly missing or wrong: harm is seen all the same, nothing is promoted on them, and what is mended goes on. */

const metrics: GateMetric[] = [
  { ...quality, margin: 0.05 },
  { ...error, margin: 0.02 },
];
const plan = planOf(metrics);
const healthy = [...week({ users: 4000, seed: 7 })];
const healthyFortnight = [...week({ users: 4000, seed: 7, days: 14 })];
const harmful = [...week({ users: 4000, seed: 7, harm: 0.3 })];

const dayOf = ({ at }: GateSample) => Math.floor((at - START) / DAY);
const without = (sample: GateSample): GateSample => {
  const { 'quality:judge': _score, ...values } = sample.values;
  return { ...sample, values };
};
/** No score in either arm on these days. */
const silent = (samples: readonly GateSample[], ...days: number[]) =>
  samples.map((sample) => (days.includes(dayOf(sample)) ? without(sample) : sample));

const judged = (samples: readonly GateSample[], horizon = 0) =>
  judge(plan, figures(samples, metrics, { to: START + (horizon + 1) * 7 * DAY }), horizon);
const seen = (samples: readonly GateSample[], days: number) => {
  const to = START + days * DAY;
  const until = samples.filter(({ at }) => at < to);
  return look(plan, figures(until, metrics, { to }), to);
};
const codes = ({ reasons }: { reasons: readonly { code: ReasonCode }[] }) => reasons.map(({ code }) => code);

test('a day without scores in both arms holds the look that follows it, and no later one', () => {
  const outage = silent(healthy, 2);
  assert.equal(seen(outage, 2).state, 'ok');
  const during = seen(outage, 3);
  assert.equal(during.state, 'Error');
  assert.deepEqual(codes(during), ['metric-silent']);
  assert.equal(seen(outage, 4).state, 'ok');
  assert.equal(seen(outage, 7).state, 'ok');
  // A day that has not ended may still get its scores.
  assert.equal(seen(outage, 2.9).state, 'ok');
});

test('a verdict wants the first horizon’s worth of measured slices, and then judges by those', () => {
  const first = judged(silent(healthy, 2));
  assert.equal(first.decision, 'continue');
  assert.deepEqual(
    first.reasons.filter(({ code }) => code === 'not-covered').map(({ guard }) => guard),
    ['quality:judge'],
  );
  assert.equal(judged(silent(healthyFortnight, 2), 1).decision, 'promote');
  assert.equal(judged(silent(healthyFortnight, 1, 2, 3, 4, 5, 6, 7), 1).decision, 'promote');
  assert.equal(judged(silent(healthyFortnight, 1, 2, 3, 4, 5, 6, 7, 8), 1).decision, 'continue');
});

test('harm is seen after an outage, beside a NaN, and beside a sample of another time', () => {
  assert.equal(seen(silent(harmful, 2), 7).harm, true);
  const oneValue = (value: number) =>
    harmful.map((sample, index) =>
      index === 500 ? { ...sample, values: { ...sample.values, 'quality:judge': value } } : sample,
    );
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const look = seen(oneValue(value), 7);
    assert.equal(look.harm, true);
    assert.equal(look.guards[0]?.state, 'Failed');
    assert.equal(look.guards[0]?.reason?.code, 'harm');
    assert.ok(look.guards[0]?.interval);
    assert.equal(judged(oneValue(value)).decision, 'rollback');
  }
  const stray = harmful.map((sample, index) => (index === 500 ? { ...sample, at: START - 1 } : sample));
  assert.equal(seen(stray, 7).harm, true);
  assert.ok(codes(seen(stray, 7)).includes('clock'));
  const failing = [...week({ users: 4000, seed: 7, canaryErrorRate: 0.2 })];
  const strayFailing = failing.map((sample, index) =>
    index === 500 ? { ...sample, at: START - 1 } : sample,
  );
  assert.equal(seen(strayFailing, 7).firstErrors?.breached, true);
});

test('a week whose traffic lies on one day is not a week', () => {
  const oneDay = healthy.map((sample) => ({ ...sample, at: START + ((sample.at - START) % DAY) }));
  const verdict = judged(oneDay);
  assert.equal(verdict.decision, 'continue');
  assert.ok(codes(verdict).includes('not-covered'));
  const oneArm = healthy.filter((sample) => sample.arm === 'stable' || dayOf(sample) === 0);
  assert.ok(codes(judged(oneArm)).includes('not-covered'));
  // Weekends without traffic are an office's week.
  const office = healthy.filter((sample) => dayOf(sample) < 5);
  assert.equal(judged(office).decision, 'promote');
});

/** So many of a hundred requests carry a score. */
function scored(samples: readonly GateSample[], share: number | ((sample: GateSample) => number)) {
  const random = randomFrom(11);
  const of = typeof share === 'number' ? () => share : share;
  return samples.map((sample) => (random() < of(sample) ? sample : without(sample)));
}

test('an arm that never had a value of a metric is named', () => {
  for (const arm of ['stable', 'canary'] as const) {
    const { reasons } = judged(healthy.map((sample) => (sample.arm === arm ? without(sample) : sample)));
    const reason = reasons.find(({ code }) => code === 'one-arm');
    assert.equal(reason?.words, `the ${arm} arm has no value of quality:judge`);
  }
});

test('a canary without scores is missed although few are due in a slice', () => {
  const lax = planOf([{ ...quality, margin: 0.2 }]);
  const few = scored([...week({ users: 4000, seed: 7, days: 28 })], 0.045);
  const verdictOn = (samples: readonly GateSample[]) =>
    judge(lax, figures(samples, [{ ...quality, margin: 0.2 }], { to: START + 28 * DAY }), 3);
  assert.equal(verdictOn(few).decision, 'promote');
  const renamed = few.map((sample) =>
    sample.arm === 'canary' && dayOf(sample) >= 14 ? without(sample) : sample,
  );
  assert.ok(codes(verdictOn(renamed)).includes('metric-missing'));
});

test('scores that one arm lacks more often are not trusted; a smaller share in both is', () => {
  const wide = [{ ...quality, margin: 0.2 }];
  const verdictOn = (samples: readonly GateSample[]) => judge(planOf(wide), figures(samples, wide), 0);
  assert.equal(verdictOn(scored(healthy, 0.5)).decision, 'promote');
  const bad = (sample: GateSample) => (sample.values['quality:judge'] ?? 0) < 0.6;
  const uneven = verdictOn(scored(healthy, (sample) => (sample.arm === 'canary' && bad(sample) ? 0 : 1)));
  assert.equal(uneven.decision, 'continue');
  assert.ok(codes(uneven).includes('uneven-scores'));
});

test('users of both arms at one weight are no experiment; a raised weight moves users by design', () => {
  const random = randomFrom(5);
  const drawn = healthy.map(
    (sample): GateSample => ({ ...sample, arm: random() < 0.1 ? 'canary' : 'stable' }),
  );
  const verdict = judged(drawn);
  assert.equal(verdict.decision, 'invalid');
  assert.ok(codes(verdict).includes('both-arms'));
  assert.equal(seen(drawn, 7).state, 'Error');

  // Users who move in the midst of a phase bring their first errors along, and the test's share is not theirs.
  const all = [...week({ users: 4000, seed: 9, errorRate: 0.05 })];
  const cameOnStable = new Set(
    all.filter((sample) => dayOf(sample) === 0 && sample.arm === 'stable').map(({ user }) => user),
  );
  const erring = all.map((sample): GateSample => {
    const moved = cameOnStable.has(sample.user) && dayOf(sample) > 0;
    return moved ? { ...sample, arm: 'canary' } : sample;
  });
  assert.equal(seen(erring, 7).sampleRatio.broken, false);
  const { firstErrors } = seen(erring, 7);
  assert.ok(firstErrors && firstErrors.evidence >= firstErrors.threshold);
  assert.equal(firstErrors.breached, false);

  const phases = [
    { since: START, weight: 0.1 },
    { since: START + 3 * DAY, weight: 0.5 },
  ];
  const raised = healthy.map((sample): GateSample => {
    const moved = Number(sample.user.slice(1)) % 9 < 4 && sample.at >= START + 3 * DAY;
    return moved ? { ...sample, arm: 'canary' } : sample;
  });
  const data = figures(raised, metrics, { phases });
  assert.ok(!codes(judge(plan, data, 0)).includes('both-arms'));
});

/** Figures of one score metric in one stratum: so many scores of so many requests in each arm, a user's requests all scored or none. */
function scores(stable: [scored: number, requests: number], canary: typeof stable, perUser = 1): GateFigures {
  const arms = { stable, canary };
  const of = (arm: Arm) => {
    const [n, requests] = arms[arm];
    return {
      traffic: { arm, stratum: 0, users: requests, newUsers: requests, requests, firstErrors: 0 },
      metric: { metric: 'quality:judge', arm, stratum: 0, users: n / perUser, n, sum: 0n, squares: 0n },
      influence: {
        users: n / perUser,
        positive: 0,
        n2: BigInt(n * perUser),
        own2: 0n,
        asStable2: 0n,
        asCanary2: 0n,
      },
    };
  };
  const [s, c] = [of('stable'), of('canary')];
  return {
    totals: {
      from: 0,
      to: 1,
      stratum: 1,
      phases: [{ weight: 0.1 }],
      traffic: [s.traffic, c.traffic],
      metrics: [s.metric, c.metric],
      buckets: [],
      unusable: [],
    },
    sums: [{ guard: 'quality:judge', arms: { stable: s.influence, canary: c.influence } }],
  };
}

test('scores are uneven by more than a tenth and beyond chance, with a user as one observation', () => {
  const uneven = (...args: Parameters<typeof scores>) =>
    unevenScores(quality, 'quality:judge', scores(...args));
  // ln(.4/.5) = −.223; its error √(1/9000 + 1/800) = .0369 and z = 6.05; with ten scores a user √10 times the error, and z = 1.91.
  assert.match(uneven([9000, 18_000], [800, 2000])?.words ?? '', /40 % of the canary.* 50 % of the stable/);
  assert.equal(uneven([9000, 18_000], [800, 2000], 10), null);
  // The stable arm may be the one that lacks them.
  assert.match(uneven([7200, 18_000], [1000, 2000])?.words ?? '', /50 % of the canary.* 40 % of the stable/);
  // ln(.46/.5) = −.083, z = 7.9, but less than a tenth.
  assert.equal(uneven([90_000, 180_000], [9200, 20_000]), null);
  assert.notEqual(uneven([90_000, 180_000], [8800, 20_000]), null);
});

/** Totals of slices of one ms: in each, so many requests of each arm, and so many of them with a score. */
function slices(...each: [requests: number, scored: number][]): GateTotals {
  const rows = each.flatMap(([requests, n], slice) =>
    (['stable', 'canary'] as const).map((arm) => ({ arm, stratum: 64 * slice, requests, n })),
  );
  const { totals } = scores([0, 0], [0, 0]);
  return {
    ...totals,
    to: each.length,
    traffic: rows
      .filter(({ requests }) => requests > 0)
      .map(({ arm, stratum, requests }) => ({
        ...{ arm, stratum, requests },
        ...{ users: requests, newUsers: requests, firstErrors: 0 },
      })),
    metrics: rows.map(({ arm, stratum, n }) => ({
      ...{ metric: 'quality:judge', arm, stratum, n },
      ...{ users: n, sum: 0n, squares: 0n },
    })),
  };
}

test('silence counts from twenty missed values on, in one run of slices', () => {
  // A tenth of all requests is scored: a silent slice of 2 × 90 misses 18 values, and two of them in a row twice as many.
  const busy: [number, number] = [940, 100];
  const quiet: [number, number] = [90, 0];
  const silentIn = (...each: [number, number][]) => coverageOf('quality:judge', slices(...each)).silent;
  assert.deepEqual(silentIn(busy, quiet, busy, quiet, busy), []);
  assert.deepEqual(silentIn(busy, quiet, quiet, busy, quiet, busy), [1, 2]);
  // Of 6000 requests 600: of 200 just twenty.
  assert.deepEqual(silentIn([1450, 150], [100, 0], [1450, 150]), [1]);
});

test('half of the time must have had traffic', () => {
  const none: [number, number] = [0, 0];
  const some: [number, number] = [10, 10];
  const lacking = (...each: [number, number][]) =>
    coverageProblems(planOf([quality]), slices(...each)).map(({ code }) => code);
  assert.deepEqual(lacking(some, none), []);
  assert.deepEqual(lacking(some, none, none), ['not-covered']);
});

test('a row of a time or phase that was not is a jump of a clock, in whatever table', () => {
  const totals = slices([1, 1]);
  assert.equal(clockJump(totals), null);
  const [traffic] = totals.traffic;
  const [metric] = totals.metrics;
  assert.ok(traffic && metric);
  const bucket = { metric: 'latency', arm: 'stable' as const, stratum: 0, bucket: 1, n: 1 };
  for (const [stratum, words] of [
    [-64, /before the canary/],
    [2 * 64, /after the watermark/],
    [1, /phase 1 of the weight/],
  ] as const) {
    for (const jumped of [
      { ...totals, traffic: [{ ...traffic, stratum }] },
      { ...totals, metrics: [{ ...metric, stratum }] },
      { ...totals, buckets: [{ ...bucket, stratum }] },
    ]) {
      assert.match(clockJump(jumped)?.words ?? '', words);
    }
  }
});

test('the histogram of one metric is not that of another', () => {
  const of = (metric: string, n: number) => ({ metric, arm: 'stable' as const, stratum: 0, n });
  const rows = [of('latency', 3), of('ttft', 2)];
  const totals = {
    ...slices(),
    metrics: rows.map((row) => ({ ...row, users: 1, sum: 0n, squares: 0n })),
    buckets: rows.map((row) => ({ ...row, bucket: 1 })),
  };
  assert.equal(histogramProblem(latencyP95, totals), null);
  const short = { ...totals, buckets: [{ ...of('ttft', 5), bucket: 1 }] };
  assert.match(histogramProblem(latencyP95, short)?.words ?? '', /hold 0 of 3 samples/);
});

test('an arm that gets far too many of few users is no experiment, though they are too few for χ²', () => {
  // Six of sixty were due on the canary, and thirty came.
  const few = healthy.filter(({ user }) => Number(user.slice(1)) < 60);
  const swapped = few.map((sample): GateSample => {
    const arm = Number(sample.user.slice(1)) % 2 === 0 ? 'canary' : 'stable';
    return { ...sample, arm };
  });
  const { decision, sampleRatio } = judged(swapped);
  assert.deepEqual([decision, sampleRatio.broken, sampleRatio.pValue], ['invalid', true, 1]);
  assert.equal(judged(few).sampleRatio.broken, false);
});

test('one canary user in a hundred may be in both arms by accident', () => {
  const withStrays = (strays: number, unusable: UnusableSamples[] = []) => {
    const figures = scores([9000, 9000], [1000, 1000]);
    for (const { arms } of figures.sums) arms.stable.users += strays;
    figures.totals.unusable.push(...unusable);
    return bothArms(figures);
  };
  assert.equal(withStrays(10), null);
  assert.equal(withStrays(11)?.code, 'both-arms');
  const early: UnusableSamples = { metric: '*', arm: 'stable', reason: 'outside-window', n: 1 };
  assert.equal(withStrays(11, [early]), null, 'who came first at another time is not counted as a user');
});
