import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatDuration, parseDuration } from '../../domain/duration.ts';

test('a duration is a number and a unit', () => {
  assert.equal(parseDuration('250ms'), 250);
  assert.equal(parseDuration('90s'), 90_000);
  assert.equal(parseDuration('5m'), 300_000);
  assert.equal(parseDuration('12h'), 43_200_000);
  assert.equal(parseDuration('7d'), 604_800_000);
  assert.equal(parseDuration('1.5h'), 5_400_000);
  assert.equal(parseDuration('0s'), 0);
});

test('anything else is none', () => {
  for (const text of [
    '',
    '5',
    's',
    '5 m',
    '-5s',
    '5M',
    '1h30m',
    ' 5s',
    '5s ',
    '.5h',
    '1e3s',
    'NaNs',
    '9999999999999999d',
  ])
    assert.equal(parseDuration(text), null, text);
});

test('formatting and parsing return the same milliseconds', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.nat(),
        fc.integer({ min: 0, max: 9_000 }).map((hours) => hours * 3_600_000),
      ),
      (ms) => {
        assert.equal(parseDuration(formatDuration(ms)), ms);
      },
    ),
  );
  assert.equal(formatDuration(604_800_000), '7d');
  assert.equal(formatDuration(90_000), '90s');
});
