import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SlipwayError } from '../../../domain/errors.ts';
import { type CsvRow, judgeCsv, sampleOf } from '../../../domain/gate/csv.ts';
import { verdictText } from '../../../domain/gate/evidence.ts';
import { plotGuard } from '../../../domain/gate/text-plot.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import { error, figures, planOf, policyOf, quality, START, week } from './fixtures.ts';

const metrics = [
  { ...quality, margin: 0.05 },
  { ...error, margin: 0.02 },
];
const policy = policyOf({ metrics });
const samples = [...week({ users: 4000, seed: 7 })].map(({ values: { latency, ...values }, ...sample }) => ({
  ...sample,
  values,
}));

const rowsOf = (all: typeof samples): CsvRow[] =>
  all.map(({ at, user, arm, values }) => ({
    time: new Date(at).toISOString(),
    user,
    arm,
    'quality:judge': String(values['quality:judge']),
    error: String(values.error),
  }));

const good: CsvRow = { time: '2026-01-05T09:30:00Z', user: 'a', arm: 'stable', 'quality:judge': '0.5' };

function refusal(row: CsvRow): SlipwayError {
  try {
    judgeCsv([good, row], policy);
  } catch (caught) {
    assert.ok(caught instanceof SlipwayError);
    return caught;
  }
  return assert.fail('the row was accepted');
}

test('a CSV is judged as the same samples from anywhere else, in any order of its rows', () => {
  const { verdict, plan } = judgeCsv(rowsOf(samples), policy, 1);
  assert.equal(verdict.decision, 'promote');
  assert.equal(verdictText(verdict), verdictText(judge(plan, figures(samples, metrics), 0)));
  assert.equal(verdictText(judgeCsv(rowsOf(samples).reverse(), policy, 1).verdict), verdictText(verdict));
  assert.equal(verdict.planDigest, judge(planOf(metrics), figures(samples, metrics), 0).planDigest);
});

test('a cell that cannot be read is named with its row, column, value and remedy', () => {
  for (const [change, field] of [
    [{ arm: 'b' }, 'rows[3].arm'],
    [{ time: '2026-01-05T09:30:00' }, 'rows[3].time'],
    [{ time: 'yesterday' }, 'rows[3].time'],
    [{ 'quality:judge': 'good' }, 'rows[3].quality:judge'],
    [{ speed: '1' }, 'rows[3].speed'],
    [{ user: ' ' }, 'rows[3].user'],
  ] as [CsvRow, string][]) {
    const caught = refusal({ ...good, ...change });
    assert.equal(caught.code, 'SAMPLES_INVALID');
    assert.equal(caught.details.field, field);
    assert.ok(caught.details.remedy);
  }
  assert.throws(() => judgeCsv([], policy), /no sample/);
});

test('an empty cell was not measured, NaN could not be: the gate says so', () => {
  assert.deepEqual(sampleOf({ ...good, 'quality:judge': '' }, 2).values, {});
  assert.ok(Number.isNaN(sampleOf({ ...good, 'quality:judge': 'NaN' }, 2).values['quality:judge']));
  for (const [cell, expected] of [
    ['NaN', 'not-finite'],
    ['inf', 'infinite'],
    ['-Infinity', 'infinite'],
    ['1e999', 'infinite'],
  ]) {
    const rows = rowsOf(samples);
    rows.push({ ...good, 'quality:judge': cell ?? '' });
    const { verdict } = judgeCsv(rows, policy, 1);
    assert.equal(verdict.decision, 'invalid');
    assert.ok(verdict.reasons.some(({ code }) => code === expected));
  }
});

test('the picture shows the interval leaving the limit behind, and the look that stops a harm', () => {
  const { looks } = judgeCsv(rowsOf([...week({ users: 4000, seed: 7, harm: 0.12 })]), policy, 14);
  const picture = plotGuard('quality:judge', looks);
  const lines = picture.split('\n');
  assert.equal(lines.length, 16);
  assert.match(picture, /limit -0.05/);
  assert.match(lines.at(-2) ?? '', /7 d .*├─*●─*┤ *┊ *│ *✗/);
  assert.equal(looks[0]?.elapsed, (7 * 86_400_000) / 14);
  assert.equal(looks.at(-1)?.time, START + 7 * 86_400_000);
});
