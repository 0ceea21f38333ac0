import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SampleCollector } from '../../../domain/gate/collect.ts';
import { figuresOf } from '../../../domain/gate/in-memory.ts';
import { look } from '../../../domain/gate/look.ts';
import { planGate } from '../../../domain/gate/plan.ts';
import { DAY, normalFrom, policyOf, quality, randomFrom, START } from './fixtures.ts';

/** What hourly looks do to the error rate, simulated: the property that the formulas are there for. */

const HOUR = DAY / 24;
const USERS = 400;
const OWN = 0.1;
const NOISE = 0.4;

const metrics = [quality];
/** One stratum and even arms: that the looks are quick and both arms have their first 100 users within half a day. */
const policy = policyOf({ metrics, weight: 0.5, horizons: [7 * DAY], stratum: 7 * DAY });
const plan = planGate(policy, {
  users: [USERS],
  samplesPerUser: 10,
  evenness: 0.6,
  sigma: { 'quality:judge': 0.2 },
  rates: {},
});

/** Does any of a week's hourly looks stop a canary that is worse by `harm`? Users come back, and each has a level of their own. */
function stopped(harm: number, seed: number): boolean {
  const random = randomFrom(seed);
  const users = Array.from({ length: USERS }, (_, n) => ({
    user: `u${n}`,
    arm: n % 2 === 0 ? ('stable' as const) : ('canary' as const),
    level: 0.6 + OWN * normalFrom(random) - (n % 2 === 0 ? 0 : harm),
    since: Math.floor(72 * random() ** 3),
  }));
  const collector = new SampleCollector({
    from: START,
    stratum: policy.stratum,
    phases: [{ since: START, weight: 0.5 }],
    metrics,
  });
  for (let hour = 0; hour < 168; hour += 1) {
    const at = START + hour * HOUR;
    for (const { user, arm, level, since } of users) {
      if (hour < since || (hour > since && random() > 0.06)) continue;
      collector.add({ at, user, arm, values: { 'quality:judge': level + NOISE * normalFrom(random) } });
    }
    const now = at + HOUR;
    const seen = look(plan, figuresOf(metrics, collector.finish(now)), now);
    assert.notEqual(seen.state, 'Error');
    if (seen.harm) return true;
  }
  return false;
}

const stops = (harm: number, weeks: number) =>
  Array.from({ length: weeks }, (_, seed) => stopped(harm, 1000 + seed)).filter(Boolean).length;

const WEEKS = 120;
const ALPHA = 0.05;

test('168 looks at a canary that is just as bad as is tolerated stop it in at most α of the weeks', () => {
  // Over 1500 weeks: 2.1 % are stopped, so some 2.5 of 120. An interval of ±1.645 SE, right for one look, stops 21 % of them, some 26.
  const weeks = stops(0.02, WEEKS);
  assert.ok(weeks <= ALPHA * WEEKS, `${weeks} of ${WEEKS} weeks`);
});

test('and stop one that is far worse', () => {
  // Six margins: of 40 weeks all are stopped.
  assert.equal(stops(0.12, 10), 10);
});
