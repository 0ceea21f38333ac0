import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { GateSample } from '../../../domain/gate/collect.ts';
import { estimateOf } from '../../../domain/gate/estimate.ts';
import { evidenceDigest, figuresDigest, verdictText } from '../../../domain/gate/evidence.ts';
import { look } from '../../../domain/gate/look.ts';
import { holm, spendOverHorizons } from '../../../domain/gate/multiplicity.ts';
import type { Verdict } from '../../../domain/gate/types.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import { DAY, error, figures, latency, latencyP95, planOf, quality, randomFrom, START } from './fixtures.ts';

/** What must not change a verdict, and what must change it in a known way. */

const metrics = [quality, error, latency, latencyP95];
const plan = planOf(metrics, { minUsers: 2, minSamples: 2, weight: 0.5 });

/** Small experiments, with values on a grid of 1e-3 so that arithmetic on them is exact in the test itself. */
const samples = fc
  .array(
    fc.record({
      day: fc.integer({ min: 0, max: 6 }),
      user: fc.integer({ min: 0, max: 30 }),
      score: fc.integer({ min: -5000, max: 5000 }),
      failed: fc.boolean(),
      ms: fc.integer({ min: 1, max: 60_000 }),
    }),
    { minLength: 30, maxLength: 200 },
  )
  .map((rows) =>
    rows.map(
      ({ day, user, score, failed, ms }, index): GateSample => ({
        at: START + day * DAY + index * 1000,
        user: `u${user}`,
        arm: user % 2 === 0 ? 'stable' : 'canary',
        values: { 'quality:judge': score / 1000, error: failed ? 1 : 0, latency: ms / 1000 },
      }),
    ),
  );

/** Experiments with enough users that the guards speak; drawn by their seed, so that a counterexample is short. */
const crowd = fc.record({
  users: fc.integer({ min: 220, max: 400 }),
  seed: fc.integer(),
  harm: fc.constantFrom(0, 0.2, 2),
});

function crowdOf({ users, seed, harm }: { users: number; seed: number; harm: number }): GateSample[] {
  const random = randomFrom(seed);
  return Array.from({ length: 3 * users }, (_, index): GateSample => {
    const user = index % users;
    const canary = user % 2 === 1;
    const score = Math.floor(1000 * (random() + (user % 7) / 10)) - (canary ? 1000 * harm : 0);
    const day = Math.floor(7 * random());
    return {
      at: START + day * DAY + index * 1000,
      user: `u${user}`,
      arm: canary ? 'canary' : 'stable',
      values: {
        'quality:judge': score / 1000,
        error: random() < 0.05 ? 1 : 0,
        latency: Math.ceil(5000 * random() ** 3) / 1000,
      },
    };
  });
}

/** Runs a property over small experiments and over crowds. */
function always(property: (rows: GateSample[], seed: number) => void): void {
  fc.assert(fc.property(samples, fc.integer(), property), { numRuns: 50 });
  fc.assert(
    fc.property(crowd, fc.integer(), (drawn, seed) => property(crowdOf(drawn), seed)),
    { numRuns: 20 },
  );
}

const verdictOf = (rows: GateSample[]): Verdict => judge(plan, figures(rows, metrics, { weight: 0.5 }), 0);

const scores = (rows: GateSample[], change: (score: number) => number): GateSample[] =>
  rows.map((row) => ({
    ...row,
    values: { ...row.values, 'quality:judge': change(row.values['quality:judge'] ?? 0) },
  }));

test('order and batches change nothing, to the last byte', () => {
  always((rows, seed) => {
    const random = randomFrom(seed);
    const shuffled = rows
      .map((row) => ({ row, key: random() }))
      .sort((a, b) => a.key - b.key)
      .map(({ row }) => row);
    const [one, other] = [
      figures(rows, metrics, { weight: 0.5 }),
      figures(shuffled, metrics, { weight: 0.5 }),
    ];
    assert.equal(figuresDigest(other), figuresDigest(one));
    assert.equal(verdictText(judge(plan, other, 0)), verdictText(judge(plan, one, 0)));
    assert.equal(evidenceDigest(judge(plan, other, 0)), evidenceDigest(judge(plan, one, 0)));
  });
});

test('an offset of 1e9 changes nothing but the means', () => {
  always((rows) => {
    const strip = (verdict: Verdict) => {
      const [guard] = verdict.guards;
      assert.ok(guard);
      const { stableMean, canaryMean, reference, ...rest } = guard;
      return { ...rest, t: reference?.welchT, p: reference?.p };
    };
    assert.deepEqual(strip(verdictOf(scores(rows, (score) => score + 1e9))), strip(verdictOf(rows)));
  });
});

test('scaling a metric scales its estimate and its error alike', () => {
  fc.assert(
    fc.property(samples, fc.integer({ min: 2, max: 1000 }), (rows, factor) => {
      const [one, other] = [rows, scores(rows, (score) => score * factor)].map((all) =>
        estimateOf(quality, figures(all, [quality], { weight: 0.5 })),
      );
      if (typeof one !== 'object' || typeof other !== 'object') return assert.equal(typeof one, typeof other);
      const near = (a: number, b: number) => assert.ok(Math.abs(a - b) <= 1e-6 * (1 + Math.abs(b)));
      near(other.difference, factor * one.difference);
      near(other.se, factor * one.se);
      near(other.degreesOfFreedom, one.degreesOfFreedom);
    }),
    { numRuns: 60 },
  );
});

test('swapping the arms mirrors the estimate and keeps its error', () => {
  always((rows) => {
    const swapped = rows.map(
      (row) => ({ ...row, arm: row.arm === 'stable' ? 'canary' : 'stable' }) as GateSample,
    );
    for (const metric of metrics) {
      const one = estimateOf(metric, figures(rows, metrics, { weight: 0.5 }));
      const other = estimateOf(metric, figures(swapped, metrics, { weight: 0.5 }));
      if (typeof one !== 'object' || typeof other !== 'object') {
        assert.equal(other, one);
        continue;
      }
      assert.equal(other.difference, one.difference === 0 ? 0 : -one.difference);
      assert.equal(other.se, one.se);
      assert.equal(other.variance.canary, one.variance.stable);
    }
  });
});

test('with one stratum the error is the ratio formula of the specification, with the small-arm guard', () => {
  fc.assert(
    fc.property(samples, (rows) => {
      const oneDay = rows.map((row) => ({ ...row, at: START + ((row.at - START) % DAY) }));
      const estimate = estimateOf(quality, figures(oneDay, [quality], { weight: 0.5 }));
      if (typeof estimate !== 'object') return;
      const users = new Map<string, { arm: string; n: number; s: number }>();
      for (const { user, arm, values } of oneDay) {
        const total = users.get(user) ?? { arm, n: 0, s: 0 };
        total.n += 1;
        total.s += values['quality:judge'] ?? 0;
        users.set(user, total);
      }
      const variance = (all: { n: number; s: number }[]) => {
        const n = all.reduce((sum, user) => sum + user.n, 0);
        const mean = all.reduce((sum, user) => sum + user.s, 0) / n;
        const squares = all.reduce((sum, user) => sum + (user.s - mean * user.n) ** 2, 0);
        return squares / (all.length - 1) / (n / all.length) ** 2;
      };
      const arm = (name: string) => [...users.values()].filter((user) => user.arm === name);
      const [stable, canary, all] = [arm('stable'), arm('canary'), [...users.values()]];
      const near = (a: number, b: number) =>
        assert.ok(Math.abs(a - b) <= 1e-6 * (1e-3 + b), `${a} is not ${b}`);
      near(estimate.variance.stable, variance(stable) / stable.length);
      near(estimate.variance.canary, variance(canary) / canary.length);
      near(estimate.guardSe ** 2, variance(all) * (1 / stable.length + 1 / canary.length));
      assert.equal(
        estimate.se,
        Math.max(Math.sqrt(estimate.variance.stable + estimate.variance.canary), estimate.guardSe),
      );
    }),
    { numRuns: 60 },
  );
});

test('a longer user list splits nothing: requests repeated within their users leave the estimate and its error', () => {
  fc.assert(
    fc.property(samples, (rows) => {
      const one = estimateOf(quality, figures(rows, [quality], { weight: 0.5 }));
      const other = estimateOf(quality, figures([...rows, ...rows], [quality], { weight: 0.5 }));
      if (typeof one !== 'object' || typeof other !== 'object') return assert.equal(other, one);
      assert.ok(Math.abs(other.difference - one.difference) < 1e-9);
      assert.ok(Math.abs(other.se - one.se) < 1e-6);
    }),
    { numRuns: 40 },
  );
});

test('the verdict says what the look at the same watermark says', () => {
  always((rows) => {
    const data = figures(rows, metrics, { weight: 0.5 });
    const seen = look(plan, data, data.totals.to);
    for (const { interval, limit, breached, estimate } of seen.guards) {
      if (interval === null || estimate === null) continue;
      // Stopped if and only if the whole interval is worse than the limit; on the side of the limit, not of no difference.
      const [low, high] = limit < 0 ? [-interval[1], -interval[0]] : interval;
      assert.ok(low < high);
      assert.equal(breached, low > Math.abs(limit));
    }
    const verdict = judge(plan, data, 0);
    assert.equal(verdict.decision === 'rollback', seen.harm);
    assert.ok(
      verdict.decision !== 'promote' || (seen.state === 'ok' && verdict.guards.every((g) => g.nonInferior)),
    );
  });
});

test('α over horizons and Holm never exceed what there is', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.nat(7), (horizons, expected) => {
      const parts = spendOverHorizons(0.05, horizons, expected % horizons);
      assert.ok(Math.abs(parts.reduce((a, b) => a + b, 0) - 0.05) < 1e-12);
      assert.ok(parts.every((part) => part > 0 && part <= 0.05));
    }),
  );
  // Wikipedia's example of Holm's method: .01, .04, .03, .005 at .05 rejects the first and the last.
  assert.deepEqual(
    holm([0.01, 0.04, 0.03, 0.005]).map((p) => Number(p.toFixed(12))),
    [0.03, 0.06, 0.06, 0.02],
  );
});

test('every figure of a verdict has at most twelve digits, so that the last bits of a machine cannot show', () => {
  always((rows) => {
    const numbers = verdictText(verdictOf(rows)).match(/-?\d+(\.\d+)?(e[+-]?\d+)?(?=[,}\]])/g) ?? [];
    assert.ok(numbers.length > 10);
    for (const text of numbers) assert.equal(Number(Number(text).toPrecision(12)), Number(text));
  });
});
