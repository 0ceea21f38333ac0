import { SlipwayError } from '../errors.ts';
import type { Arm } from '../words.ts';
import { SampleCollector } from './collect.ts';
import { type CsvRow, sampleOf } from './csv.ts';
import { type AskedWindow, csvWindow } from './csv-window.ts';
import { figuresOf } from './in-memory.ts';
import { look } from './look.ts';
import { planGate } from './plan.ts';
import { SampleTable } from './sample-table.ts';
import type { GateFigures, GatePlan, GatePolicy, Look, UnusableSamples, Verdict } from './types.ts';
import { judge } from './verdict.ts';

export interface CsvQuestion extends AskedWindow {
  plan: GatePlan;
  /** 0-based; left out: the last one that the data reach (the first if they reach none: the verdict says so). */
  horizon?: number | undefined;
  /** Other weights than the plan's, and since when (ms since 1970), rising: a ramp. Infinity: they never came. */
  phases?: readonly { since: number; weight: number }[] | undefined;
  /** How many looks, at evenly spaced times, for the picture. */
  looks?: number | undefined;
  /** Hears before each look how many were taken: with many samples they take minutes. */
  told?: ((taken: number, looks: number) => void) | undefined;
}

export interface CsvJudgement {
  plan: GatePlan;
  figures: GateFigures;
  verdict: Verdict;
  looks: Look[];
  rows: CsvRows;
}

/** What became of the file's rows. Times are ms since 1970. */
export interface CsvRows {
  all: number;
  /** Dated in [from, to): the verdict is theirs. */
  judged: number;
  /** Dated where no canary was: the verdict's reason `clock`. */
  outside: number;
  /** Of the canary, but after the horizon or the end of the data. */
  later: number;
  from: number;
  to: number;
  /** The earliest and the latest time of the file. */
  first: number;
  last: number;
}

const LOOKS = 28;

/** Takes the rows of a file one after the other, in any order of their times, and judges them. */
export class CsvSamples {
  readonly #table = new SampleTable();

  /** Throws SAMPLES_INVALID for a cell that cannot be read, with its row (`number`; the header is row 1), column, value and remedy. */
  add(row: CsvRow, number = this.#table.length + 2): void {
    this.#table.add(sampleOf(row, number));
  }

  /**
   * The verdict on what came before the horizon, as the ledger would give it. Throws SAMPLES_INVALID if no sample was then, INPUT_INVALID for a
   * phase that begins outside of the canary.
   */
  judge({ plan, from, to, horizon: asked, phases = [], looks = LOOKS, told }: CsvQuestion): CsvJudgement {
    const table = this.#table;
    if (table.length === 0) {
      const remedy = 'Give it at least one row below the header.';
      throw new SlipwayError('SAMPLES_INVALID', 'the file holds no sample', { remedy });
    }
    const { metrics, stratum, weight } = plan.policy;
    const order = table.inTime();
    const times = Float64Array.from(order, (row) => table.timeOf(row));
    const window = csvWindow(times, stratum, { from, to });
    const lost = phases.find(
      ({ since }) => Number.isFinite(since) && (since < window.from || since >= window.to),
    );
    if (lost !== undefined) throw lostPhase(lost.since, window);
    const reached = plan.horizons.findLastIndex(({ after }) => window.from + after <= window.to);
    const horizon = asked ?? Math.max(0, reached);
    const end = Math.min(window.to, window.from + (plan.horizons[horizon]?.after ?? 0));
    const held = times.filter(window.holds);
    const judged = held.filter((at) => at < end).length;
    const rows: CsvRows = {
      all: table.length,
      judged,
      outside: table.length - held.length,
      later: held.length - judged,
      from: window.from,
      to: end,
      first: times[0] ?? Number.NaN,
      last: times.at(-1) ?? Number.NaN,
    };
    if (judged === 0) throw noneInside(rows, { from, to });

    const collector = new SampleCollector({
      from: window.from,
      stratum,
      phases: [{ since: window.from, weight }, ...phases],
      metrics,
    });
    // Rows from after the end; those from before the start are counted by the collector.
    const ahead: Record<Arm, number> = { stable: 0, canary: 0 };
    const taken = order.filter((row) => {
      const at = table.timeOf(row);
      if (at < window.from || window.holds(at)) return true;
      ahead[table.sample(row).arm] += 1;
      return false;
    });
    const figuresAt = (until: number): GateFigures => {
      const data = collector.finish(until);
      for (const arm of ['stable', 'canary'] as const) addOutside(data.totals.unusable, arm, ahead[arm]);
      return figuresOf(metrics, data);
    };
    let next = 0;
    const collectUntil = (until: number) => {
      for (let row = taken[next]; row !== undefined && table.timeOf(row) < until; row = taken[next]) {
        const sample = table.sample(row);
        // A clock that is a little behind: the gateway counts the request with the first ones, too.
        const at = window.holds(sample.at) ? Math.max(sample.at, window.from) : sample.at;
        collector.add({ ...sample, at });
        next += 1;
      }
    };
    const pictures: Look[] = [];
    for (let step = 1; step <= looks; step += 1) {
      told?.(step - 1, looks);
      const until = window.from + ((end - window.from) * step) / looks;
      collectUntil(until);
      pictures.push(look(plan, figuresAt(until), until));
    }
    collectUntil(end);
    const figures = figuresAt(end);
    const verdict = judge(plan, figures, horizon);
    return { plan, figures, verdict, looks: pictures, rows };
  }
}

/** Of a phase that never begins nobody would hear. */
function lostPhase(since: number, { from, to }: { from: number; to: number }): SlipwayError {
  const at = (ms: number) => new Date(ms).toISOString();
  return new SlipwayError(
    'INPUT_INVALID',
    `a phase begins at ${at(since)}, outside of the canary from ${at(from)} up to ${at(to)}`,
    { field: 'phase', value: at(since), remedy: 'Correct --phase, or --from and --to.' },
  );
}

/** A year mistyped would else be a verdict on nothing. */
function noneInside({ all, from, to, first, last }: CsvRows, asked: AskedWindow): SlipwayError {
  const at = (ms: number) => new Date(ms).toISOString();
  const bounds = [
    asked.from === undefined ? '' : ` from ${at(from)}`,
    to > from || asked.from === undefined ? ` up to ${at(to)}` : ' on',
  ];
  return new SlipwayError(
    'SAMPLES_INVALID',
    `none of the ${all} rows is dated${bounds.join('')}: the file reaches from ${at(first)} to ${at(last)}`,
    {
      field: asked.from === undefined ? 'to' : 'from',
      value: at(asked.from ?? to),
      remedy: 'Correct --from and --to, or give the samples of that time; a release says its time itself.',
    },
  );
}

function addOutside(unusable: UnusableSamples[], arm: Arm, n: number): void {
  if (n === 0) return;
  const reason = 'outside-window';
  const known = unusable.find((row) => row.arm === arm && row.reason === reason);
  if (known) known.n += n;
  else unusable.push({ metric: '*', arm, reason, n });
}

/** `CsvSamples` for rows that are all there, with a plan that knows no earlier traffic. */
export function judgeCsv(rows: Iterable<CsvRow>, policy: GatePolicy, looks?: number): CsvJudgement {
  const samples = new CsvSamples();
  for (const row of rows) samples.add(row);
  return samples.judge({ plan: planGate(policy, null), looks });
}
