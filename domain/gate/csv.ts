import { SlipwayError } from '../errors.ts';
import { parseIsoTime } from '../iso-time.ts';
import type { Arm } from '../words.ts';
import type { GateSample } from './collect.ts';
import { metricInfo } from './metrics.ts';

/**
 * Samples as a CSV file has them: columns `time,user,arm` and one column a metric, so that an analyst can check a decision with their own
 * tools. Times are ISO 8601 with an offset, arms `stable` or `canary`; an empty cell was not measured, `NaN` could not be measured, `inf` is
 * infinite.
 */
export type CsvRow = Readonly<Record<string, string>>;

const OWN_COLUMNS = new Set(['time', 'user', 'arm']);

/** The header's names. Throws SAMPLES_INVALID if one stands there twice: of two columns only one could be judged. */
export function headerOf(names: readonly string[]): string[] {
  const twice = names.find((name, index) => names.indexOf(name) < index);
  if (twice !== undefined) {
    throw invalid('the header names a column twice', 1, twice, 'Give each column a name of its own.', twice);
  }
  return [...names];
}

/** One row of the file; `row` is its number there. Throws SAMPLES_INVALID for a cell that cannot be read. */
export function sampleOf(cells: CsvRow, row: number): GateSample {
  const cell = (column: string): string => {
    const text = cells[column]?.trim();
    if (text) return text;
    throw invalid(`row ${row} has no ${column}`, row, column, `Give every row a ${column}.`);
  };
  const time = cell('time');
  const at = parseIsoTime(time);
  if (at === null) {
    const remedy = 'Write ISO 8601 with Z or an offset, for example 2026-01-05T09:30:00Z.';
    throw invalid(`row ${row} has a time that cannot be read`, row, 'time', remedy, time);
  }
  const arm = cell('arm');
  if (arm !== 'stable' && arm !== 'canary') {
    throw invalid(`row ${row} names an unknown arm`, row, 'arm', 'Write stable or canary.', arm);
  }
  const values: Record<string, number> = {};
  for (const [column, text] of Object.entries(cells)) {
    if (OWN_COLUMNS.has(column) || text.trim() === '') continue;
    const kind = metricInfo(column)?.kind;
    if (kind === undefined) {
      const remedy =
        'Name it error, violation, latency, ttft, tpot, cost or quality:<evaluator>, or remove the column.';
      throw invalid(`the column ${column} is no metric`, row, column, remedy, text);
    }
    const value = numberOf(text.trim(), row, column);
    // The ledger takes no other scores either: on another scale the margin would mean something else.
    if (kind === 'score' && Number.isFinite(value) && !(value >= 0 && value <= 1)) {
      throw invalid(`row ${row} has a score outside 0–1`, row, column, 'Scale scores to 0–1.', text.trim());
    }
    values[column] = value;
  }
  return { at, user: cell('user'), arm: arm satisfies Arm, values };
}

function numberOf(text: string, row: number, column: string): number {
  if (/^[+-]?nan$/i.test(text)) return Number.NaN;
  if (/^[+-]?inf(inity)?$/i.test(text)) return Number.POSITIVE_INFINITY;
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text);
  const remedy = 'Write a decimal number, or leave the cell empty.';
  throw invalid(`row ${row} has no number`, row, column, remedy, text);
}

function invalid(message: string, row: number, column: string, remedy: string, value?: string): SlipwayError {
  return new SlipwayError('SAMPLES_INVALID', message, { field: `rows[${row}].${column}`, value, remedy });
}
