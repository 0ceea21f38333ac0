import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { SlipwayError } from '../../../domain/errors.ts';
import type { GateSample } from '../../../domain/gate/collect.ts';
import { type CsvRow, headerOf, sampleOf } from '../../../domain/gate/csv.ts';
import { CsvSamples, judgeCsv } from '../../../domain/gate/csv-judgement.ts';
import { verdictText } from '../../../domain/gate/evidence.ts';
import { parsePlan, printedPlan } from '../../../domain/gate/plan-file.ts';
import { plotGuard } from '../../../domain/gate/text-plot.ts';
import type { Verdict } from '../../../domain/gate/types.ts';
import { judge } from '../../../domain/gate/verdict.ts';
import { DAY, error, figures, planOf, policyOf, quality, randomFrom, START, week } from './fixtures.ts';

const metrics = [
  { ...quality, margin: 0.05 },
  { ...error, margin: 0.02 },
];
const policy = policyOf({ metrics });
const HOUR = 3_600_000;

/** Samples of these two metrics; scores are from 0 to 1. */
function samplesOf(options: Parameters<typeof week>[0]): GateSample[] {
  return [...week(options)].map(({ values, ...sample }) => {
    const score = Math.min(1, Math.max(0, values['quality:judge'] ?? Number.NaN));
    return { ...sample, values: { 'quality:judge': score, error: values.error ?? Number.NaN } };
  });
}
const samples = samplesOf({ users: 4000, seed: 7 });

const rowsOf = (all: readonly GateSample[]): CsvRow[] =>
  all.map(({ at, user, arm, values }) => ({
    time: new Date(at).toISOString(),
    user,
    arm,
    ...Object.fromEntries(Object.entries(values).map(([metric, value]) => [metric, String(value)])),
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
    [{ time: '2026-02-30T09:30:00Z' }, 'rows[3].time'],
    [{ time: '5 January 2026 10:00 Z' }, 'rows[3].time'],
    [{ 'quality:judge': '0x1' }, 'rows[3].quality:judge'],
    [{ 'quality:judge': '1_0' }, 'rows[3].quality:judge'],
    [{ 'quality:judge': '80' }, 'rows[3].quality:judge'],
    [{ 'quality:judge': '-0.1' }, 'rows[3].quality:judge'],
    [{ 'quality:judge': '0,5' }, 'rows[3].quality:judge'],
    [{ error: 'true' }, 'rows[3].error'],
    [{ error: '0.5' }, 'rows[3].error'],
    [{ latency: '-1' }, 'rows[3].latency'],
    [{ latency: 'inf' }, 'rows[3].latency'],
    [{ latency: '-Infinity' }, 'rows[3].latency'],
    [{ latency: '1e999' }, 'rows[3].latency'],
    [{ latency: 'NaN' }, 'rows[3].latency'],
    [{ latency: 'NA' }, 'rows[3].latency'],
    [{ cost: 'null' }, 'rows[3].cost'],
    [{ arm: 'Stable' }, 'rows[3].arm'],
    [{ arm: '' }, 'rows[3].arm'],
    [{ time: '' }, 'rows[3].time'],
    [{ user: 'jos\u{FFFD}' }, 'rows[3].user'],
  ] as [CsvRow, string][]) {
    const caught = refusal({ ...good, ...change });
    assert.equal(caught.code, 'SAMPLES_INVALID');
    assert.equal(caught.details.field, field);
    assert.ok(caught.details.remedy);
    assert.match(caught.message, /\brow 3\b|column speed/);
  }
  assert.throws(() => judgeCsv([], policy), /no sample/);
});

describe('the header', () => {
  const names = ['time', 'user', 'arm', 'error'];
  const refused = (cells: string[], judged: string[] = []) => {
    try {
      headerOf(cells, judged);
    } catch (caught) {
      assert.ok(caught instanceof SlipwayError);
      assert.equal(caught.code, 'SAMPLES_INVALID');
      return { message: caught.message, ...caught.details };
    }
    return assert.fail('the header was accepted');
  };

  test('is taken in any order, with blanks around names, and with metrics that nothing judges', () => {
    assert.deepEqual(headerOf(names, ['error', 'error']), names);
    assert.deepEqual(headerOf([' arm', 'time ', 'user', 'quality:own'], []), [
      'arm',
      'time',
      'user',
      'quality:own',
    ]);
  });

  test('that names a column twice is refused: one of them would not be judged', () => {
    assert.deepEqual(refused([...names, ' error']), {
      message: 'the header names a column twice',
      field: 'rows[1].error',
      value: 'error',
      remedy: 'Give each column a name of its own.',
    });
  });

  test('that lacks a column is refused with what it lacks and what it has', () => {
    const renamed = refused(['timestamp', 'user', 'variant', 'error']);
    assert.equal(renamed.field, 'rows[1].time');
    assert.equal(
      renamed.message,
      'the file has no column time, arm; the header has timestamp, user, variant, error',
    );
    const judged = refused(names, ['quality:judge', 'latency', 'latency', 'error']);
    assert.equal(judged.field, 'rows[1].quality:judge');
    assert.match(judged.message, /no column quality:judge, latency; the header has time, user, arm, error$/);
    assert.match(judged.remedy ?? '', /leave its cells empty where nothing was measured/);
  });

  test('that commas do not separate is refused with what does', () => {
    for (const [sign, word] of [
      [';', 'semicolons'],
      ['\t', 'tabs'],
      ['|', 'bars'],
    ] as const) {
      const { message, remedy } = refused([names.join(sign)]);
      assert.match(message, /no column time, user, arm; the header has time/);
      assert.match(remedy ?? '', new RegExp(`by commas, not by ${word}, and write decimals with a point`));
    }
    assert.doesNotMatch(refused(['time;x', 'user']).remedy ?? '', /commas/);
  });

  test('that names what is no metric is refused, whatever stands below it', () => {
    assert.match(refused([...names, 'speed']).message, /^the column speed is no metric$/);
    assert.match(refused([...names, '']).message, /^the column without a name is no metric$/);
  });
});

test('numbers are decimal, as programs and people write them', () => {
  for (const [cell, value] of [
    ['0.5', 0.5],
    ['.5', 0.5],
    ['1.', 1],
    ['+5e-1', 0.5],
    ['1E0', 1],
    [' 0.5 ', 0.5],
  ] as const) {
    assert.equal(sampleOf({ ...good, 'quality:judge': cell }, 2).values['quality:judge'], value);
  }
});

describe('start and end of the data', () => {
  const moved = (at: number): GateSample => ({ ...first, at });
  const first = samples[0] ?? assert.fail();
  const day = samplesOf({ users: 6000, seed: 7, days: 1, requestsPerDay: 6 });
  const clocks = (verdict: Verdict) => verdict.reasons.filter(({ code }) => code === 'clock').length;

  for (const [name, rows, elapsed] of [
    ['one day and a row six days before', [...day, moved(START - 6 * DAY)], DAY],
    ['one day and a row six days after', [...day, moved(START + 7 * DAY - 1000)], DAY],
    ['a week and a row 30 days ahead', [...samples, moved(START + 37 * DAY)], 7 * DAY],
    ['a week and a row a year back', [...samples, moved(START - 365 * DAY)], 7 * DAY],
    [
      'a week and a row a year ahead and one a year back',
      [moved(START - 365 * DAY), ...samples, moved(START + 365 * DAY)],
      7 * DAY,
    ],
  ] as [string, GateSample[], number][]) {
    test(`are not decided by stray rows: ${name}`, () => {
      const { verdict, rows: counted } = judgeCsv(rowsOf(rows), policy, 1);
      assert.deepEqual([verdict.decision, verdict.horizon.index, verdict.elapsed], ['invalid', 0, elapsed]);
      assert.equal(clocks(verdict), 1);
      const inside = elapsed === DAY ? day.length : samples.length;
      assert.deepEqual(
        [counted.all, counted.judged, counted.outside, counted.later],
        [rows.length, inside, rows.length - inside, 0],
      );
    });
  }

  test('may be said; then what lies outside has a wrong clock, and a gap is not judged by its clock', () => {
    const plan = planOf(metrics);
    const judged = (rows: GateSample[], window: { from?: number; to?: number }) => {
      const all = new CsvSamples();
      for (const row of rowsOf(rows)) all.add(row);
      return all.judge({ plan, looks: 1, ...window }).verdict;
    };
    const window = { from: START, to: START + 7 * DAY };
    const sound = verdictText(judged(samples, {}));
    assert.equal(verdictText(judged(samples, window)), sound);
    // The last request came at 22:00: only the analyst knows that the data are complete.
    const evening = samples.filter(({ at }) => at < START + 7 * DAY - 2 * HOUR);
    assert.equal(judged(evening, {}).decision, 'continue');
    assert.equal(judged(evening, window).decision, 'promote');
    // A little late is no jump; a day is one.
    const few = samples.slice(0, 3000);
    const jumps = (rows: GateSample[], asked: typeof window | { from: number } | { to: number }) =>
      clocks(judged(rows, asked));
    assert.equal(jumps([...few, moved(START - 1000)], window), 0);
    for (const at of [START - DAY, START - 61_000, START + 8 * DAY]) {
      assert.equal(jumps([...few, moved(at)], window), 1);
    }
    const outage = few.filter(({ at }) => at < START + 2 * DAY || at >= START + 4 * DAY);
    assert.equal(clocks(judged(outage, {})), 1);
    assert.equal(jumps(outage, window), 0);
    // With one end said, the other is where the rows end.
    assert.equal(verdictText(judged(samples, { from: START })), sound);
    assert.equal(verdictText(judged(samples, { to: START + 7 * DAY })), sound);
    assert.equal(jumps([...few, moved(START + 37 * DAY)], { from: START }), 1);
    assert.equal(jumps([...few, moved(START - 37 * DAY)], { to: START + 7 * DAY }), 1);
  });

  test('that no row lies in are refused with the times of the file', () => {
    const year = 365 * DAY;
    const range = `the file reaches from ${new Date(START).toISOString()} to ${new Date(START + HOUR).toISOString()}`;
    const all = new CsvSamples();
    for (const row of rowsOf([moved(START + HOUR), moved(START)])) all.add(row);
    for (const [window, field, bounds] of [
      [{ from: START + year }, 'from', 'from 2027-01-05T00:00:00.000Z on'],
      // A year early: the file would be of the last horizon, which saw nothing.
      [{ from: START - year }, 'from', 'from 2025-01-05T00:00:00.000Z up to 2025-02-02T00:00:00.000Z'],
      [
        { from: START - year, to: START - year + DAY },
        'from',
        'from 2025-01-05T00:00:00.000Z up to 2025-01-06T00:00:00.000Z',
      ],
      [{ to: START - year }, 'to', 'up to 2025-01-05T00:00:00.000Z'],
    ] as const) {
      assert.throws(
        () => all.judge({ plan: planOf(metrics), ...window }),
        (caught: SlipwayError) => {
          assert.equal(caught.message, `none of the 2 rows is dated ${bounds}: ${range}`);
          const year = field === 'from' && 'from' in window && window.from > START ? '2027' : '2025';
          assert.deepEqual(
            [caught.code, caught.details.field, caught.details.value],
            ['SAMPLES_INVALID', field, `${year}-01-05T00:00:00.000Z`],
          );
          return true;
        },
      );
    }
  });

  test('a horizon is judged by what came before it', () => {
    const ten = samplesOf({ users: 4000, seed: 7, days: 10 });
    const { verdict, looks, rows } = judgeCsv(rowsOf(ten), policy, 2);
    assert.equal(verdict.elapsed, 7 * DAY);
    assert.deepEqual([rows.from, rows.to], [START, START + 7 * DAY]);
    const later = ten.filter(({ at }) => at >= START + 7 * DAY).length;
    assert.deepEqual([rows.judged, rows.later, rows.outside], [ten.length - later, later, 0]);
    assert.deepEqual(
      looks.map(({ elapsed }) => elapsed / DAY),
      [3.5, 7],
    );
    const before = ten.filter(({ at }) => at < START + 7 * DAY);
    assert.equal(verdictText(verdict), verdictText(judgeCsv(rowsOf(before), policy, 1).verdict));
    const weeks = samplesOf({ users: 2000, seed: 7, days: 14 });
    assert.equal(judgeCsv(rowsOf(weeks), policy, 1).verdict.horizon.index, 1);
  });
});

test('a ramped weight is judged phase by phase', () => {
  const random = randomFrom(2);
  const ramp = [0.1, 0.5];
  const since = START + 3.5 * DAY;
  const rows: GateSample[] = [];
  for (let user = 0; user < 4000; user += 1) {
    const share = random();
    for (let day = 0; day < 7; day += 1) {
      const at = START + day * DAY + Math.floor(random() * DAY);
      const score = 0.6 + 0.05 * day + 0.1 * (random() - 0.5);
      const weight = ramp[at < since ? 0 : 1] ?? 0;
      rows.push({
        at,
        user: `u${user}`,
        arm: share < weight ? 'canary' : 'stable',
        values: { 'quality:judge': score },
      });
    }
  }
  const all = new CsvSamples();
  for (const row of rowsOf(rows)) all.add(row);
  const plan = planOf([quality]);
  const { verdict } = all.judge({ plan, phases: [{ since, weight: 0.5 }], looks: 1 });
  assert.equal(verdict.decision, 'promote');
  assert.ok(
    Math.abs(verdict.guards[0]?.estimate ?? 1) < 0.005,
    'better days did not pass for a better canary',
  );
  for (const lost of [START - 1, START + 7 * DAY]) {
    assert.throws(() => all.judge({ plan, phases: [{ since: lost, weight: 0.5 }], looks: 1 }), {
      code: 'INPUT_INVALID',
      message:
        /^a phase begins at .*, outside of the canary from 2026-01-05T00:00:00.000Z up to 2026-01-12T00:00:00.000Z$/,
    });
  }
  // Without its phases the ramp is a broken sample ratio.
  assert.equal(all.judge({ plan, looks: 1 }).verdict.decision, 'invalid');
});

test('a plan is read as it was printed, and refused with what is wrong', () => {
  const plan = planOf(metrics);
  const printed = printedPlan(plan);
  assert.equal(printed.digest, judge(plan, figures(samples, metrics), 0).planDigest);
  assert.deepEqual(parsePlan(JSON.stringify(printed)), plan);
  assert.deepEqual(parsePlan(JSON.stringify(Object.fromEntries(Object.entries(printed).reverse()))), plan);
  for (const [broken, field] of [
    ['{', 'line 1, column 2'],
    ['{}', 'digest'],
    [JSON.stringify(plan), 'digest'],
    [JSON.stringify({ ...printed, guards: [] }), 'guards'],
    [JSON.stringify({ ...printed, policy: { ...plan.policy, weight: 2 } }), 'policy.weight'],
    // What was edited by hand, wherever.
    [JSON.stringify({ ...printed, policy: { ...plan.policy, minUsers: 1 } }), 'digest'],
    [JSON.stringify({ ...printed, expectedHorizon: 1 }), 'digest'],
    [JSON.stringify({ ...printed, more: 1 }), 'digest'],
  ] as const) {
    assert.throws(
      () => parsePlan(broken),
      (error: SlipwayError) => {
        assert.deepEqual([error.code, error.details.field], ['INPUT_INVALID', field]);
        return error.details.remedy !== undefined;
      },
      broken,
    );
  }
});

test('an empty cell, or one of blanks, was not measured', () => {
  for (const cell of ['', ' ', '\t']) {
    assert.deepEqual(sampleOf({ ...good, 'quality:judge': cell }, 2).values, {});
  }
});

test('the picture shows the interval leaving the limit behind, and the look that stops a harm', () => {
  const { looks } = judgeCsv(rowsOf(samplesOf({ users: 4000, seed: 7, harm: 0.12 })), policy, 14);
  const picture = plotGuard('quality:judge', looks);
  const lines = picture.split('\n');
  assert.equal(lines.length, 16);
  assert.match(picture, /limit -0.05/);
  assert.match(lines.at(-2) ?? '', /7 d .*├─*●─*┤ *┊ *│ *✗/);
  assert.equal(looks[0]?.elapsed, (7 * 86_400_000) / 14);
  assert.equal(looks.at(-1)?.time, START + 7 * 86_400_000);
});
