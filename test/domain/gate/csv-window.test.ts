import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AskedWindow, csvWindow } from '../../../domain/gate/csv-window.ts';

const STRATUM = 24_000;
const MINUTE = 60_000;

/** The window of rows at these times, and which of them it holds. */
function windowOf(times: number[], asked: AskedWindow = {}): { from: number; to: number; held: number[] } {
  const { from, to, holds } = csvWindow(Float64Array.from(times), STRATUM, asked);
  return { from, to, held: times.filter(holds) };
}

test('rows say start and end themselves, rounded outward, unless a longer gap than a stratum parts them', () => {
  const rows = [1_500, 25_500, 49_499];
  assert.deepEqual(windowOf(rows), { from: 1_000, to: 50_000, held: rows });
  assert.deepEqual(windowOf([1_500]), { from: 1_000, to: 2_000, held: [1_500] });
  // A gap of a stratum and a little; both sides alike: the first one stays.
  assert.deepEqual(windowOf([1_500, 25_501]), { from: 1_000, to: 2_000, held: [1_500] });
  assert.deepEqual(windowOf([1_500, 25_501, 25_501]), { from: 25_000, to: 26_000, held: [25_501, 25_501] });
});

test('many strays do not outvote the canary one by one, nor do the rows that are left out by what was said', () => {
  const strays = [-900_000, -700_000, -500_000];
  const canary = [0, 10_000, 20_000, 30_000];
  assert.deepEqual(windowOf([...strays, ...canary]).held, canary);
  const before = [-200_000, -199_000, -198_000, -197_000, -196_000];
  assert.deepEqual(windowOf([...before, ...canary], { from: 0 }), { from: 0, to: 31_000, held: canary });
  const after = before.map((at) => at + 800_000);
  assert.deepEqual(windowOf([...canary, ...after], { to: 31_000 }), { from: 0, to: 31_000, held: canary });
});

test('what is said stands, with a minute for clocks that differ', () => {
  const asked = { from: 100_000, to: 148_000 };
  assert.deepEqual(
    windowOf([100_000 - MINUTE - 1, 100_000 - MINUTE, 140_000], asked).held,
    [40_000, 140_000],
  );
  // Ahead is what belongs to a stratum that begins more than a minute after the end, as in the ledger.
  assert.deepEqual(windowOf([219_999, 220_000], asked).held, [219_999]);
  assert.deepEqual(windowOf([195_999, 219_999, 220_000], { ...asked, to: 136_000 }).held, [195_999, 219_999]);
  assert.deepEqual(windowOf([219_999], { ...asked, to: 135_999 }).held, []);
});

test('without a row inside, the window is what was said', () => {
  const { from, to, held } = windowOf([1_000], { from: 900_000 });
  assert.deepEqual([from, to, held], [900_000, 900_000, []]);
  assert.deepEqual(windowOf([900_000], { to: 1_000 }), { from: 1_000, to: 1_000, held: [] });
});
