import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GateSample } from '../../../domain/gate/collect.ts';
import { estimateOf } from '../../../domain/gate/estimate.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import { DAY, figures, normalFrom, planOf, quality, randomFrom, START } from './fixtures.ts';

/**
 * A ramp from 1 % to 50 % while the quality of the days changes: all days thrown together, the arm that has its users on the better days
 * seems better. Judged by strata, only what differs within a day counts. Users stay on the canary once they are there.
 */
const ramp = [
  { since: START, weight: 0.01 },
  { since: START + 2 * DAY, weight: 0.1 },
  { since: START + 4 * DAY, weight: 0.5 },
];

function* ramped(options: { dayTrend: number; harm: number; seed: number }): Generator<GateSample> {
  const random = randomFrom(options.seed);
  for (let user = 0; user < 6000; user += 1) {
    const bucket = random();
    const own = 0.08 * normalFrom(random);
    for (let day = 0; day < 7; day += 1) {
      if (random() < 0.4) continue;
      const at = START + day * DAY + Math.floor(random() * DAY);
      const weight = ramp.findLast(({ since }) => since <= at)?.weight ?? 0;
      const arm = bucket < weight ? 'canary' : 'stable';
      const score =
        0.6 + options.dayTrend * day + own + 0.1 * normalFrom(random) - (arm === 'canary' ? options.harm : 0);
      yield { at, user: `u${user}`, arm, values: { 'quality:judge': score } };
    }
  }
}

function pooledDifference(samples: GateSample[]): number {
  const mean = (arm: string) => {
    const values = samples.filter((s) => s.arm === arm).map((s) => s.values['quality:judge'] ?? 0);
    return values.reduce((a, b) => a + b, 0) / values.length;
  };
  return mean('canary') - mean('stable');
}

const plan = planOf([quality]);

test('no effect: worsening days look like a harm when pooled, and are none by strata', () => {
  const samples = [...ramped({ dayTrend: -0.03, harm: 0, seed: 5 })];
  assert.ok(pooledDifference(samples) < -0.03);
  const data = figures(samples, [quality], { phases: ramp });
  const estimate = estimateOf(quality, data);
  assert.ok(typeof estimate === 'object' && Math.abs(estimate.difference) < 3 * estimate.se);
  assert.equal(judge(plan, data, 0).decision, 'promote');
});

test('a true harm hidden by improving days is seen', () => {
  const samples = [...ramped({ dayTrend: 0.03, harm: 0.045, seed: 6 })];
  assert.ok(pooledDifference(samples) > -0.02);
  const verdict = judge(plan, figures(samples, [quality], { phases: ramp }), 0);
  assert.equal(verdict.decision, 'rollback');
  const [guard] = verdict.guards;
  assert.ok(guard?.estimate && Math.abs(guard.estimate + 0.045) < 0.015);
});

test('users who moved from stable to the canary do not break the sample ratio', () => {
  const data = figures(ramped({ dayTrend: 0, harm: 0, seed: 8 }), [quality], { phases: ramp });
  assert.equal(judge(plan, data, 0).sampleRatio.broken, false);
});
