import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GateSample } from '../../../domain/gate/collect.ts';
import { look } from '../../../domain/gate/look.ts';
import type { GateMetric, ReasonCode } from '../../../domain/gate/types.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import { DAY, error, figures, planOf, quality, randomFrom, START, week } from './fixtures.ts';

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
    assert.equal(seen(oneValue(value), 7).harm, true);
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
