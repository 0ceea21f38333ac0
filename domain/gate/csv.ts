import { SlipwayError } from '../errors.ts';
import { parseIsoTime } from '../iso-time.ts';
import type { Arm } from '../words.ts';
import type { GateSample } from './collect.ts';
import { type MetricKind, metricInfo } from './metrics.ts';

/**
 * Samples as a CSV file has them: columns `time,user,arm` and one column a metric, so that an analyst can check a decision with their own
 * tools. One rule for every cell: blanks around it do not count; an empty one of a metric was not measured; whatever else is no value that
 * its column can have (times are ISO 8601 with an offset, arms `stable` or `canary`) refuses the file, with row and column. `NaN` is no
 * value either: whoever made the file can still say whether nothing was measured, or something went wrong.
 */
export type CsvRow = Readonly<Record<string, string>>;

const OWN_COLUMNS = ['time', 'user', 'arm'];
/** Characters of a header that a message shows. */
const LONGEST = 300;

/** What a metric's cell must say. */
const VALUES: Record<MetricKind, { words: string; holds: (value: number) => boolean }> = {
  // The ledger takes no other scores either: on another scale the margin would mean something else.
  score: { words: 'a score from 0 to 1', holds: (value) => value >= 0 && value <= 1 },
  rate: { words: '0 or 1', holds: (value) => value === 0 || value === 1 },
  positive: {
    words: 'a finite number, 0 or more',
    holds: (value) => value >= 0 && value < Number.POSITIVE_INFINITY,
  },
};

/**
 * The header's names, without blanks around them. Throws SAMPLES_INVALID if one stands there twice (of two columns only one could be judged),
 * is none of the format, or is missing.
 * @param judged metrics that a column must be there for, if only an empty one
 */
export function headerOf(cells: readonly string[], judged: Iterable<string>): string[] {
  const names = cells.map((name) => name.trim());
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) {
    throw invalid('the header names a column twice', 1, twice, 'Give each column a name of its own.', twice);
  }
  const found =
    `the header has ${names.map((name) => name.replaceAll(/\p{Cc}/gu, ' ') || '(no name)').join(', ')}`.slice(
      0,
      LONGEST,
    );
  const missing = [...OWN_COLUMNS, ...new Set(judged)].filter((name) => !names.includes(name));
  const refused = (message: string, column: string, remedy: string) =>
    invalid(`${message}; ${found}`, 1, column, `${separatedBy(names)}${remedy}`);
  const [own = ''] = missing.filter((name) => OWN_COLUMNS.includes(name));
  if (own !== '') {
    const remedy = 'Name the columns time, user and arm, and one by each metric.';
    throw refused(`the file has no column ${missing.join(', ')}`, own, remedy);
  }
  const unknown = names.find((name) => !OWN_COLUMNS.includes(name) && metricInfo(name) === null);
  if (unknown !== undefined) throw noMetric(1, unknown);
  if (missing[0] !== undefined) {
    const remedy = 'Add what the plan judges; leave its cells empty where nothing was measured.';
    throw refused(`the file has no column ${missing.join(', ')}`, missing[0], remedy);
  }
  return names;
}

/** One row of the file; `row` is its number there. Throws SAMPLES_INVALID for a cell that cannot be read. */
export function sampleOf(cells: CsvRow, row: number): GateSample {
  const cell = (column: string, remedy: string): string => {
    const text = cells[column]?.trim();
    if (text) return text;
    throw invalid(`row ${row} has no ${column}`, row, column, remedy);
  };
  const iso = 'Write ISO 8601 with Z or an offset, for example 2026-01-05T09:30:00Z.';
  const time = cell('time', iso);
  const at = parseIsoTime(time);
  if (at === null) throw invalid(`row ${row} has a time that cannot be read`, row, 'time', iso, time);
  const user = cell('user', 'Leave out requests without a user: the gate judges users.');
  // Two names that cannot be read would be one user.
  if (user.includes('\u{FFFD}')) {
    throw invalid(`row ${row} has a user that cannot be read`, row, 'user', 'Write the file in UTF-8.', user);
  }
  const arms = 'Write stable or canary.';
  const arm = cell('arm', arms);
  if (arm !== 'stable' && arm !== 'canary') {
    throw invalid(`row ${row} names an unknown arm`, row, 'arm', arms, arm);
  }
  const values: Record<string, number> = {};
  for (const [column, text] of Object.entries(cells)) {
    if (OWN_COLUMNS.includes(column)) continue;
    const trimmed = text.trim();
    if (trimmed !== '') values[column] = measured(trimmed, row, column);
  }
  return { at, user, arm: arm satisfies Arm, values };
}

function measured(text: string, row: number, column: string): number {
  const kind = metricInfo(column)?.kind;
  if (kind === undefined) throw noMetric(row, column);
  const { words, holds } = VALUES[kind];
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) {
    const value = Number(text);
    if (holds(value)) return value;
  }
  const remedy = `Write ${words}, with a decimal point, or leave the cell empty if nothing was measured.`;
  throw invalid(`the ${column} of row ${row} is not ${words}`, row, column, remedy, text);
}

/** A file that is not separated by commas is one column to us. */
function separatedBy(names: readonly string[]): string {
  if (names.length > 1) return '';
  const separator = (
    [
      [';', 'semicolons'],
      ['\t', 'tabs'],
      ['|', 'bars'],
    ] as const
  ).find(([sign]) => names[0]?.includes(sign));
  return separator === undefined
    ? ''
    : `Separate the columns by commas, not by ${separator[1]}, and write decimals with a point. `;
}

function noMetric(row: number, column: string): SlipwayError {
  const remedy =
    'Name it error, violation, latency, ttft, tpot, cost or quality:<evaluator>, or remove the column.';
  return invalid(`the column ${column || 'without a name'} is no metric`, row, column, remedy);
}

function invalid(message: string, row: number, column: string, remedy: string, value?: string): SlipwayError {
  return new SlipwayError('SAMPLES_INVALID', message, { field: `rows[${row}].${column}`, value, remedy });
}
