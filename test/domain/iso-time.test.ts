import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIsoTime } from '../../domain/iso-time.ts';

const at = Date.UTC(2026, 0, 5, 9, 30);

test('a time is read in every way that ISO 8601 and Postgres write it', () => {
  for (const [text, ms] of [
    ['2026-01-05T09:30:00Z', at],
    ['2026-01-05T09:30Z', at],
    ['2026-01-05 09:30:00+00', at],
    ['2026-01-05 09:30:00.25+00', at + 250],
    ['2026-01-05T09:30:00.123456Z', at + 123],
    ['2026-01-05T11:30:00+02:00', at],
    ['2026-01-05T11:30:00+0200', at],
    ['2026-01-05 15:00:00+05:30', at],
    ['2026-01-04T23:30:00-10', at],
    ['2024-02-29T00:00:00Z', Date.UTC(2024, 1, 29)],
  ] as const) {
    assert.equal(parseIsoTime(text), ms, text);
  }
});

test('what is no time, or a time that never was, is null', () => {
  for (const text of [
    '2026-02-30T00:00:00Z',
    '2025-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-00-01T00:00:00Z',
    '2026-01-05T24:00:00Z',
    '2026-01-05T09:60:00Z',
    '2026-01-05T09:30:60Z',
    '2026-01-05T09:30:00+16',
    '2026-01-05T09:30:00+02:60',
    '2026-01-05T09:30:00',
    '2026-01-05',
    '2026-1-5T09:30:00Z',
    '20260105T093000Z',
    '0099-01-05T09:30:00Z',
    '5 January 2026 10:00 Z',
    '1 Z',
    '1767605400000',
    '',
  ]) {
    assert.equal(parseIsoTime(text), null, text);
  }
});

test('every time that JavaScript writes reads back', () => {
  const years = { min: new Date('0100-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59.999Z') };
  fc.assert(
    fc.property(fc.date({ ...years, noInvalidDate: true }), (date) =>
      assert.equal(parseIsoTime(date.toISOString()), date.getTime()),
    ),
  );
});
