import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judge } from '../../../domain/gate/verdict.ts';
import { planWords, verdictWords } from '../../../domain/release/verdict-words.ts';
import { DAY, error, figures, latency, latencyP95, planOf, quality, START, week } from '../gate/fixtures.ts';

test('the line of a plan says when it decides, what harm it sees, and what gain it wants', () => {
  const guarded = planWords(planOf([quality, error]));
  assert.match(guarded, /Smallest harm seen by then: quality:judge 0\.\d+, error 0\.\d+\.$/);
  assert.doesNotMatch(guarded, /must also be better/);
  assert.match(
    planWords(planOf([{ ...quality, role: 'success' }, error])),
    /is found to be no worse with .* must also be better: a canary that improves quality:judge by 0\.\d+ is found so with 90 % by then\. Smallest harm/,
  );
});

test('the line of a verdict gives the reason that decided, names the guard that harms, and drops none', () => {
  const metrics = [{ ...quality, margin: 0.05 }, { ...error, margin: 0.02 }, latency, latencyP95];
  const plan = planOf([...metrics, { ...latency, metric: 'cost' }]);
  const worded = (samples: ReturnType<typeof week>) => {
    const priced = [...samples].map((sample) => ({
      ...sample,
      values: { ...sample.values, cost: 0.001 * (sample.values.latency ?? 1) },
    }));
    const of = [...metrics, { ...latency, metric: 'cost' }];
    return {
      full: verdictWords(plan, judge(plan, figures(priced, of), 0)),
      oneDay: verdictWords(
        plan,
        judge(
          plan,
          figures(
            priced.map((s) => ({ ...s, at: START + ((s.at - START) % DAY) })),
            of,
          ),
          0,
        ),
      ),
      stray: verdictWords(
        plan,
        judge(
          plan,
          figures(
            priced.map((s, index) => (index === 9 ? { ...s, at: START - DAY } : s)),
            of,
          ),
          0,
        ),
      ),
    };
  };
  const healthy = worded(week({ users: 4000, seed: 7 }));
  assert.match(healthy.full, /^promote; quality:judge .*; and cost\/log-mean; /);
  assert.match(healthy.oneDay, /^continue \(both arms had requests in 1 of 7 slices/);
  assert.match(healthy.stray, /^invalid \(1 sample dated outside the canary/);
  assert.equal(healthy.stray.match(/dated outside/g)?.length, 1);
  assert.match(
    worded(week({ users: 4000, seed: 7, harm: 0.045 })).full,
    /^continue \(quality:judge may be worse than the limit\); quality:judge /,
  );
  assert.match(worded(week({ users: 4000, seed: 7, harm: 0.3 })).full, /^rollback; harm: quality:judge /);
});
