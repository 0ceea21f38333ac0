import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import { windowOf } from '../../store/evidence.ts';
import { type ExperimentRows, type GateWindow, totalsOf } from '../../store/gate-totals.ts';

const FROM = 1_000_000;
const window: GateWindow = {
  release: 'r',
  from: FROM,
  to: FROM + 300,
  stratum: 100,
  phases: [{ weight: 0.1 }, { weight: 1 }, { weight: 0 }],
};
const at = (slice: number, phase = 0) => slice * 64 + phase;

function rowsAt(...strata: number[]): ExperimentRows {
  const place = (stratum: number) => ({ arm: 'canary' as const, stratum });
  return {
    users: strata.map((stratum) => ({ ...place(stratum), users: 3, requests: 5 })),
    firsts: strata.flatMap((stratum) => [
      { ...place(stratum), kind: 'request' as const, users: 2 },
      { ...place(stratum), kind: 'error' as const, users: 1 },
    ]),
    metrics: strata.map((stratum) => ({
      ...place(stratum),
      metric: 'error',
      users: 3,
      n: 5,
      sum: 0n,
      squares: 0n,
    })),
    buckets: strata.map((stratum) => ({ ...place(stratum), metric: 'latency', bucket: 1, n: 5 })),
    unusable: [],
  };
}

function seen(rows: ExperimentRows, changes: Partial<GateWindow> = {}) {
  const totals = totalsOf({ ...window, ...changes }, rows);
  const strata = totals.traffic.map(({ stratum }) => stratum);
  assert.deepEqual(
    totals.metrics.map(({ stratum }) => stratum),
    strata,
  );
  assert.deepEqual(
    totals.buckets.map(({ stratum }) => stratum),
    strata,
  );
  return { strata, outside: totals.unusable };
}

const outside = [{ metric: '*', arm: 'canary', reason: 'outside-window', n: 5 }];

describe('the window of a look or a verdict', () => {
  it('ends before the stratum that begins at its end', () => {
    assert.deepEqual(seen(rowsAt(at(0), at(2), at(3), at(4))), { strata: [at(0), at(2)], outside: [] });
  });

  it('holds a stratum that has begun', () => {
    assert.deepEqual(seen(rowsAt(at(3)), { to: FROM + 301 }).strata, [at(3)]);
  });

  it('reports samples from before the canary', () => {
    assert.deepEqual(seen(rowsAt(at(-1), at(0))), { strata: [at(0)], outside });
    const [early] = rowsAt(at(-1)).users;
    assert.ok(early);
    const both = { ...rowsAt(), users: [early, { ...early, arm: 'stable' as const, requests: 7 }] };
    assert.deepEqual(seen(both).outside, [{ ...outside[0], arm: 'stable', n: 7 }, ...outside]);
  });

  it('keeps the values that could not be used, whenever they came', () => {
    const unusable = [{ metric: 'latency', arm: 'stable' as const, reason: 'not-finite' as const, n: 2 }];
    assert.deepEqual(totalsOf(window, { ...rowsAt(at(0)), unusable }).unusable, unusable);
  });

  it('reports samples from the future only beyond its tolerance', () => {
    assert.deepEqual(seen(rowsAt(at(9)), { tolerance: 600 }), { strata: [], outside: [] });
    assert.deepEqual(seen(rowsAt(at(9)), { tolerance: 599 }), { strata: [], outside });
  });

  it('of a late verdict leaves out what came meanwhile, and reports what cannot have come yet', () => {
    const minute = 60_000;
    const policy = { ...defaultPolicy, gate: { ...defaultPolicy.gate, stratum: minute } };
    const late = windowOf('r', policy, { from: 0, to: 3 * minute, seenAt: 5 * minute });
    const of = (slice: number) => totalsOf(late, rowsAt(at(slice))).unusable.length;
    // A clock may be ahead by a minute.
    assert.deepEqual([2, 3, 5, 6, 7].map(of), [0, 0, 0, 0, 1]);
  });

  it('leaves out phases with everybody on one arm, which compare nothing', () => {
    assert.deepEqual(seen(rowsAt(at(1), at(1, 1), at(1, 2))), { strata: [at(1)], outside: [] });
  });

  it('keeps a phase that the policy does not know, so that the gate can name it', () => {
    assert.deepEqual(seen(rowsAt(at(1, 7))).strata, [at(1, 7)]);
  });

  it('counts first requests and first errors where they were', () => {
    const { traffic } = totalsOf(window, rowsAt(at(0)));
    assert.deepEqual(traffic, [
      { arm: 'canary', stratum: at(0), users: 3, newUsers: 2, requests: 5, firstErrors: 1 },
    ]);
  });
});
