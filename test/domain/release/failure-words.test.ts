import assert from 'node:assert/strict';
import { test } from 'node:test';
import { failureWords, isAboutErrors } from '../../../domain/release/failure-words.ts';
import type { WatchedGate, WatchedGuards } from '../../../domain/release/watching.ts';
import { failureReasons } from '../../../gateway/upstream.ts';

test('failures are told the most frequent first, in an order that is always the same', () => {
  assert.equal(failureWords([]), '');
  const counts = [
    { reason: 'upstream_cut', count: 2 },
    { reason: 'no_endpoint', count: 19 },
    { reason: 'client_closed', count: 2 },
    { reason: 'variables', count: 1 },
  ];
  const words =
    '; on the canary: no_endpoint 19 (no replica answered), client_closed 2 (the client gave up before an answer), ' +
    'upstream_cut 2 (the replica broke off) and 1 more reasons';
  assert.equal(failureWords(counts), words);
  assert.equal(failureWords(counts.toReversed()), words);
});

test('each reason of the gateway has its meaning', () => {
  for (const reason of failureReasons) assert.match(failureWords([{ reason, count: 1 }]), / 1 \(.+\)$/);
});

const guardsWith = (metric?: string) =>
  ({
    state: metric === undefined ? 'ok' : 'failed',
    readings: [
      { metric: 'errors', state: metric === 'errors' ? 'failed' : 'ok' },
      { metric: 'latencyP95', state: metric === 'latencyP95' ? 'failed' : 'ok' },
    ],
  }) as unknown as WatchedGuards;
const gateWith = (harm: boolean, ...reasons: { code: string; guard?: string }[]) =>
  ({ harm, reasons }) as unknown as WatchedGate;

const cases: [string, WatchedGuards, WatchedGate | null, boolean][] = [
  ["the guard's errors", guardsWith('errors'), null, true],
  ["another guard's figure", guardsWith('latencyP95'), gateWith(true, { code: 'first-errors' }), false],
  ['first errors', guardsWith(), gateWith(true, { code: 'first-errors' }), true],
  ["the statistics' errors", guardsWith(), gateWith(true, { code: 'harm', guard: 'error' }), true],
  ['a worse quality', guardsWith(), gateWith(true, { code: 'harm', guard: 'quality:judge' }), false],
  ['errors that are no harm', guardsWith(), gateWith(false, { code: 'no-data', guard: 'error' }), false],
  ['silence', guardsWith(), null, false],
];
for (const [what, guards, gate, about] of cases) {
  test(`${what} ${about ? 'is' : 'is not'} about errors`, () =>
    assert.equal(isAboutErrors({ guards, gate }), about));
}
