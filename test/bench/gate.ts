/**
 * `npm run bench:gate`: how often the gate is wrong, and how fast it is right, on simulated canaries. Prints tables with 95 % Monte Carlo
 * margins, and on stderr how far it is. `--sims 1000` for narrower ones (default 100, some 25 minutes of one core); `--only NAME` runs
 * the rows whose name contains it. Seeds are fixed: the same command prints the same numbers.
 */
import { parseArgs } from 'node:util';
import type { GateBaseline, GateMetric, GatePlan } from '../../domain/gate/types.ts';
import { alike, harms, type Row, sizesAndMargins } from './cases.ts';
import { population } from './scenarios.ts';
import { baselineFrom, type Outcome, planOf, type Scenario, simulate } from './simulate.ts';
import { millisecondsToJudge } from './speed.ts';

const { values: options } = parseArgs({
  options: { sims: { type: 'string', default: '100' }, only: { type: 'string', default: '' } },
});
const SIMS = Number(options.sims);
/** How often as many more canaries are looked at, only at the horizon, for the share of promotions. */
const MORE_AT_HORIZON = 3;
/** Users from whose week before the release a plan is made. */
const PILOT = 30_000;
const began = performance.now();

/** Harm of some margins to the first guard, on the estimate's scale, signed. */
function harmOf([guard]: readonly GateMetric[], margins: number): number {
  if (!guard) return 0;
  if (guard.scale === 'absolute') return (guard.direction === 'lower' ? 1 : -1) * margins * guard.margin;
  return Math.log1p(margins * guard.margin);
}

function usersFor(size: Row['size'], plan: GatePlan): number {
  if (size === 'if noisy') return plan.usersNeededIfNoisy;
  return size === 'to stop' ? plan.usersToStopTwoMargins : 0;
}

/** What the week before a row's release told. */
const pilots = new Map<string, GateBaseline>();

/** Sizes the population by the plan: so many users that it expects to promote at the first horizon, or also to stop two margins by then. */
function prepare(row: Row, effect: number, days = 7, lookEvery = 1): { scenario: Scenario; plan: GatePlan } {
  const make = (users: number, at: number): Scenario => ({
    name: row.name,
    population: population(row.metrics(at), { ...row.changes, users: Math.ceil(users) }),
    guards: row.guards,
    effect: at,
    days,
    lookEvery,
  });
  const baseline = pilots.get(row.name) ?? baselineFrom(make(PILOT, 0), PILOT);
  pilots.set(row.name, baseline);
  const planFor = (users: number) => planOf(make(users, 0), baseline, PILOT);
  let users = typeof row.size === 'object' ? row.size.users : PILOT;
  let plan = planFor(users);
  const wants = () => Math.max(plan.usersNeeded, usersFor(row.size, plan));
  if (typeof row.size !== 'object') {
    // Not everybody comes within the week; the last steps find how many must be there for the plan to be content.
    const present = (plan.horizons[0]?.users ?? users) / users;
    users = (0.9 * wants()) / present;
    do {
      users *= 1.02;
      plan = planFor(users);
    } while (plan.expectedHorizon !== 0 || plan.refusal !== null || (plan.horizons[0]?.users ?? 0) < wants());
  }
  return { scenario: make(users, effect), plan };
}

function share(outcomes: readonly Outcome[], hit: (outcome: Outcome) => boolean): string {
  const n = outcomes.length;
  const hits = outcomes.filter(hit).length;
  // Agresti–Coull half width, which is honest at 0 and 1.
  const adjusted = (hits + 2) / (n + 4);
  const margin = 1.96 * Math.sqrt((adjusted * (1 - adjusted)) / (n + 4));
  return `${((100 * hits) / n).toFixed(1)} ± ${(100 * margin).toFixed(1)} %`;
}

/** Different rows draw different canaries, so that a lucky draw does not favour all of them (FNV-1a). */
function seedOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193) >>> 0;
  return hash;
}

interface Runs {
  sims: number;
  toTheEnd: boolean;
  /** What tells this run's canaries from those of others. */
  draw: string;
}

function run(scenario: Scenario, plan: GatePlan, { sims, toTheEnd, draw }: Runs): Outcome[] {
  const what = `${scenario.name}, ${draw}`;
  const seed = seedOf(what);
  return Array.from({ length: sims }, (_, index) => {
    const minutes = (performance.now() - began) / 60_000;
    if (index % 10 === 0)
      process.stderr.write(`\r${minutes.toFixed(1)} min: ${what}: ${index} of ${sims}\x1b[K`);
    return simulate(scenario, plan, (seed + index) >>> 0, toTheEnd);
  });
}

/** Prints the head of a table; the result prints its rows, each when it is done. */
function begin(title: string, header: string[]): (cells: string[]) => void {
  const width = (column: number) => Math.max(header[column]?.length ?? 0, column === 0 ? 29 : 13);
  const line = (cells: string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(width(column))).join(' | ')} |`;
  console.log(`\n${title}\n\n${line(header)}\n${line(header.map((_, column) => '-'.repeat(width(column))))}`);
  return (cells) => {
    process.stderr.write('\r\x1b[K');
    console.log(line(cells));
  };
}

const wanted = ({ name }: { name: string }) => name.includes(options.only);
const simsOf = ({ sims }: { sims?: number }) => Math.ceil(SIMS * (sims ?? 1));

function noDifference(): void {
  const print = begin(
    'No difference (A/A), 90/10, looked at every hour for 7 days; beside it the same with a harm of one margin, which the gate may promote with at most α. α is 5 % each; the bound at the horizon covers 97.5 %.',
    [
      'canary',
      'users',
      'false rollback',
      'sequence wrong',
      'bound covers',
      'promoted at 7 d',
      'planned',
      'promoted at one margin',
      'textbook wrong at 7 d',
      'textbook wrong, hourly',
    ],
  );
  for (const row of alike.filter(wanted)) {
    const { scenario, plan } = prepare(row, 0);
    const sims = simsOf(row);
    const outcomes = run(scenario, plan, { sims, toTheEnd: true, draw: 'A/A' });
    const atHorizon = (effect: number) =>
      run({ ...prepare(row, effect).scenario, lookEvery: 168 }, plan, {
        sims: MORE_AT_HORIZON * sims,
        toTheEnd: false,
        draw: effect === 0 ? 'A/A at the horizon' : 'one margin at the horizon',
      });
    print([
      row.name,
      String(scenario.population.users),
      share(outcomes, (o) => o.stoppedAfter !== null),
      share(outcomes, (o) => o.missed),
      share(outcomes, (o) => o.covered === true),
      share([...outcomes, ...atHorizon(0)], (o) => o.verdicts[0] === 'promote' && o.stoppedAfter === null),
      `${(100 * (plan.horizons[0]?.power ?? 0)).toFixed(0)} %`,
      share(atHorizon(harmOf(row.guards, 1)), (o) => o.verdicts[0] === 'promote'),
      share(outcomes, (o) => o.textbookOnce),
      share(outcomes, (o) => o.textbookEver),
    ]);
  }
}

function medianHours(outcomes: readonly Outcome[], end: number): string {
  const hours = outcomes.map((o) => o.stoppedAfter ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b);
  const median = hours[Math.floor(hours.length / 2)] ?? Number.POSITIVE_INFINITY;
  return Number.isFinite(median) ? `${median} h` : `> ${end} h`;
}

function harmful(): void {
  const print = begin(
    'A harm of one, two and four margins: stopped within 7 days, and promoted at 7 days. One margin is the edge: a sequence stops it, and the gate promotes it, with at most α; the first-error test has no margin.',
    ['harm', 'users (as planned)', 'margins', 'stopped', 'by first errors', 'median', 'promoted'],
  );
  for (const harm of harms.filter(wanted)) {
    for (const [size, margins] of sizesAndMargins) {
      if (harm.margins && !harm.margins.includes(margins)) continue;
      const { scenario, plan } = prepare({ ...harm, size }, harmOf(harm.guards, margins));
      const draw = `${size}, ${margins} margins`;
      const outcomes = run(scenario, plan, { sims: SIMS, toTheEnd: false, draw });
      print([
        harm.name,
        `${scenario.population.users} (${size})`,
        String(margins),
        share(outcomes, (o) => o.stoppedAfter !== null),
        share(outcomes, (o) => o.byFirstErrors),
        medianHours(outcomes, 168),
        share(outcomes, (o) => o.verdicts[0] === 'promote'),
      ]);
    }
  }
}

function allHorizons(): void {
  const print = begin(
    'Followed through all four horizons (28 days, looks every 6 hours), with the users to promote an equal canary. At one margin each may be 5 %.',
    [
      'harm',
      'margins',
      'promoted at any horizon',
      'stopped by a sequence',
      'stopped by day 7',
      'day 14',
      'day 28',
      'median',
    ],
  );
  for (const harm of harms.slice(0, 2).filter(wanted)) {
    for (const margins of [1, 2]) {
      const row: Row = { ...harm, size: 'to promote' };
      const { scenario, plan } = prepare(row, harmOf(harm.guards, margins), 28, 6);
      const draw = `28 days, ${margins} margins`;
      const outcomes = run(scenario, plan, { sims: Math.ceil(SIMS * 0.6), toTheEnd: false, draw });
      const stoppedBy = (day: number) =>
        share(outcomes, (o) => (o.stoppedAfter ?? Number.POSITIVE_INFINITY) <= 24 * day);
      print([
        harm.name,
        String(margins),
        share(outcomes, (o) => o.verdicts.at(-1) === 'promote'),
        share(outcomes, (o) => o.stoppedAfter !== null && !o.byFirstErrors),
        stoppedBy(7),
        stoppedBy(14),
        stoppedBy(28),
        medianHours(outcomes, 672),
      ]);
    }
  }
}

noDifference();
harmful();
allHorizons();
console.log(
  `\n100,000 users an arm on seven days, one metric, in memory: judged in ${millisecondsToJudge(100_000).toFixed(0)} ms.`,
);
console.log(`${SIMS} simulations a row; ${((performance.now() - began) / 1000).toFixed(0)} s.`);
