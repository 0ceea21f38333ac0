import { figuresOf, type GateData } from '../../domain/gate/in-memory.ts';
import { planGate } from '../../domain/gate/plan.ts';
import { defaultGatePolicy } from '../../domain/gate/types.ts';
import { judge } from '../../domain/gate/verdict.ts';
import { randomOf } from './population.ts';
import { guards } from './scenarios.ts';

const DAYS = 7;

/** Milliseconds to judge one metric of a week from its per-user-day sums in memory, half of the users on each arm; the best of five. */
export function millisecondsToJudge(usersPerArm: number): number {
  const random = randomOf(1);
  const users = 2 * usersPerArm;
  const rows = DAYS * users;
  const row = (length: number, value: (row: number) => number) =>
    Float64Array.from({ length }, (_, index) => value(index));
  const n = row(rows, () => 1 + random.poisson(0.5));
  const data: GateData = {
    users,
    days: [
      {
        metric: 'quality:judge',
        arm: Uint8Array.from({ length: rows }, (_, index) => index % 2),
        stratum: row(rows, (index) => 64 * Math.floor(index / users)),
        user: Int32Array.from({ length: rows }, (_, index) => index % users),
        n,
        sum: row(rows, (index) => Math.round((n[index] ?? 0) * (700_000 + 200_000 * random.normal()))),
        shift: 0,
        squares: [],
      },
    ],
    buckets: [],
    totals: {
      from: 0,
      to: defaultGatePolicy.horizons[0] ?? 0,
      stratum: defaultGatePolicy.stratum,
      phases: [{ weight: 0.5 }],
      traffic: (['stable', 'canary'] as const).flatMap((arm) =>
        Array.from({ length: DAYS }, (_, day) => ({
          arm,
          stratum: 64 * day,
          users: usersPerArm,
          newUsers: day === 0 ? usersPerArm : 0,
          requests: 2 * usersPerArm,
          firstErrors: 0,
        })),
      ),
      unusable: [],
    },
  };
  const plan = planGate({ ...defaultGatePolicy, metrics: [guards.quality], weight: 0.5 }, null);
  const times = Array.from({ length: 5 }, () => {
    const began = performance.now();
    if (judge(plan, figuresOf(plan.policy.metrics, data), 0).decision !== 'promote')
      throw new Error('not promoted');
    return performance.now() - began;
  });
  return Math.min(...times);
}
