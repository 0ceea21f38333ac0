import { SlipwayError } from '../errors.ts';
import type { Arm } from '../words.ts';
import { type GateSample, SampleCollector } from './collect.ts';
import { figuresOf } from './in-memory.ts';
import { look } from './look.ts';
import { metricInfo } from './metrics.ts';
import { planGate } from './plan.ts';
import { SampleTable } from './sample-table.ts';
import type { GateFigures, GatePlan, GatePolicy, Look, Verdict } from './types.ts';
import { judge } from './verdict.ts';

/**
 * Judges samples from a CSV file with columns `time,user,arm` and one column a metric, so that an analyst can check a decision with their
 * own tools. Times are ISO 8601 with an offset, arms `stable` or `canary`; an empty cell was not measured, `NaN` could not be measured, `inf` is infinite.
 */
export type CsvRow = Readonly<Record<string, string>>;

export interface CsvJudgement {
  plan: GatePlan;
  figures: GateFigures;
  verdict: Verdict;
  /** Looks at evenly spaced times, for the picture. */
  looks: Look[];
}

const OWN_COLUMNS = new Set(['time', 'user', 'arm']);
/** The start and the end of the data are rounded outward to this part of a stratum: an hour of a day. */
const ROUNDING = 24;

/** Takes the rows of a file one after the other, in any order of their times, and judges them. */
export class CsvSamples {
  readonly #table = new SampleTable();

  /** Throws SAMPLES_INVALID for a cell that cannot be read, with its row (the header is row 1), column, value and remedy. */
  add(row: CsvRow): void {
    this.#table.add(sampleOf(row, this.#table.length + 2));
  }

  /**
   * The verdict at the last horizon that the data reach (at the first one if they reach none: then it says so), and so many looks.
   * Throws SAMPLES_INVALID if there is no sample.
   */
  judge(policy: GatePolicy, looks = 28): CsvJudgement {
    const table = this.#table;
    const order = table.inTime();
    const [first, last] = [order[0], order.at(-1)];
    if (first === undefined || last === undefined) {
      const remedy = 'Give it at least one row below the header.';
      throw invalid('the file holds no sample', undefined, undefined, remedy);
    }
    const unit = policy.stratum / ROUNDING;
    const from = Math.floor(table.timeOf(first) / unit) * unit;
    const to = Math.floor(table.timeOf(last) / unit) * unit + unit;
    const plan = planGate(policy, null);
    const collector = new SampleCollector({
      from,
      stratum: policy.stratum,
      phases: [{ since: from, weight: policy.weight }],
      metrics: policy.metrics,
    });
    const figuresAt = (until: number) => figuresOf(policy.metrics, collector.finish(until));
    const pictures: Look[] = [];
    let next = 0;
    const collectUntil = (until: number) => {
      for (let row = order[next]; row !== undefined && table.timeOf(row) < until; row = order[next]) {
        collector.add(table.sample(row));
        next += 1;
      }
    };
    for (let step = 1; step <= looks; step += 1) {
      const until = from + ((to - from) * step) / looks;
      collectUntil(until);
      pictures.push(look(plan, figuresAt(until), until));
    }
    collectUntil(Number.POSITIVE_INFINITY);
    const figures = figuresAt(to);
    const horizon = Math.max(
      0,
      plan.horizons.findLastIndex(({ after }) => after <= to - from),
    );
    return { plan, figures, verdict: judge(plan, figures, horizon), looks: pictures };
  }
}

/** `CsvSamples` for rows that are all there. */
export function judgeCsv(rows: Iterable<CsvRow>, policy: GatePolicy, looks?: number): CsvJudgement {
  const samples = new CsvSamples();
  for (const row of rows) samples.add(row);
  return samples.judge(policy, looks);
}

/** One row of the file; `row` is its number there. */
export function sampleOf(cells: CsvRow, row: number): GateSample {
  const cell = (column: string): string => {
    const text = cells[column]?.trim();
    if (text) return text;
    throw invalid(`row ${row} has no ${column}`, row, column, `Give every row a ${column}.`);
  };
  const time = cell('time');
  const at = /(Z|[+-]\d\d:?\d\d)$/.test(time) ? Date.parse(time) : Number.NaN;
  if (Number.isNaN(at)) {
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
    if (metricInfo(column) === null) {
      const remedy =
        'Name it error, violation, latency, ttft, tpot, cost or quality:<evaluator>, or remove the column.';
      throw invalid(`the column ${column} is no metric`, row, column, remedy, text);
    }
    values[column] = numberOf(text.trim(), row, column);
  }
  return { at, user: cell('user'), arm: arm satisfies Arm, values };
}

function numberOf(text: string, row: number, column: string): number {
  if (/^[+-]?nan$/i.test(text)) return Number.NaN;
  if (/^[+-]?inf(inity)?$/i.test(text)) return Number.POSITIVE_INFINITY;
  const value = Number(text);
  if (!Number.isNaN(value)) return value;
  throw invalid(`row ${row} has no number`, row, column, 'Write a number, or leave the cell empty.', text);
}

function invalid(
  message: string,
  row: number | undefined,
  column: string | undefined,
  remedy: string,
  value?: string,
): SlipwayError {
  const field = row === undefined ? undefined : `rows[${row}].${column}`;
  return new SlipwayError('SAMPLES_INVALID', message, { field, value, remedy });
}
