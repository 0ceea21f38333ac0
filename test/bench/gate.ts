/**
 * `npm run bench:gate`: how often the gate is wrong, and how fast it is right, on simulated canaries. Prints tables with 95 % Monte Carlo
 * margins. `--sims 1000` for narrower ones (default 100, some minutes on one core); `--only NAME` runs the rows whose name contains
 * it. Seeds are fixed: the same command prints the same numbers.
 */
import { parseArgs } from 'node:util';
import type { GateMetric, GatePlan } from '../../domain/gate/types.ts';
import { alike, harms, type Row } from './cases.ts';
import { population } from './scenarios.ts';
import { baselineFrom, type Outcome, planOf, type Scenario, simulate } from './simulate.ts';
import { millisecondsToJudge } from './speed.ts';

const { values: options } = parseArgs({
  options: { sims: { type: 'string', default: '100' }, only: { type: 'string', default: '' } },
});
const SIMS = Number(options.sims);
/** Users from whose week before the release a plan is made. */
const PILOT = 30_000;

/** Harm of some margins to the first guard, on the estimate's scale, signed. */
function harmOf([guard]: readonly GateMetric[], margins: number): number {
  if (!guard) return 0;
  if (guard.scale === 'absolute') return (guard.direction === 'lower' ? 1 : -1) * margins * guard.margin;
  return Math.log1p(margins * guard.margin);
}

/** Sizes the population by the plan: so many users that it expects to promote at the first horizon, or also to stop two margins by then. */
function prepare(row: Row, effect: number, days = 7): { scenario: Scenario; plan: GatePlan } {
  const make = (users: number, at: number): Scenario => ({
    name: row.name,
    population: population(row.metrics(at), { ...row.changes, users: Math.ceil(users) }),
    guards: row.guards,
    effect: at,
    days,
    lookEvery: row.lookEvery ?? 1,
  });
  const baseline = baselineFrom(make(PILOT, 0), PILOT);
  const planFor = (users: number) => planOf(make(users, 0), baseline, PILOT);
  let users = typeof row.size === 'object' ? row.size.users : 2000;
  let plan = planFor(users);
  const enough = () =>
    typeof row.size === 'object' ||
    (plan.expectedHorizon === 0 &&
      plan.refusal === null &&
      (row.size === 'to promote' || (plan.horizons[0]?.users ?? 0) >= plan.usersToStopTwoMargins));
  while (!enough()) {
    users *= 1.02;
    plan = planFor(users);
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

function run(scenario: Scenario, plan: GatePlan, sims: number, toTheEnd: boolean): Outcome[] {
  return Array.from({ length: sims }, (_, index) => simulate(scenario, plan, 10_000 + index, toTheEnd));
}

/** Prints the head of a table; the result prints its rows, each when it is done. */
function begin(title: string, header: string[]): (cells: string[]) => void {
  const width = (column: number) => Math.max(header[column]?.length ?? 0, column === 0 ? 29 : 13);
  const line = (cells: string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(width(column))).join(' | ')} |`;
  console.log(`\n${title}\n\n${line(header)}\n${line(header.map((_, column) => '-'.repeat(width(column))))}`);
  return (cells) => console.log(line(cells));
}

const wanted = ({ name }: { name: string }) => name.includes(options.only);
const simsOf = ({ sims }: { sims?: number }) => Math.ceil(SIMS * (sims ?? 1));

function noDifference(): void {
  const print = begin(
    'No difference (A/A), 90/10, looked at every hour for 7 days (p95: every 12). α is 5 % each; the bound at the horizon covers 97.5 %.',
    [
      'canary',
      'users',
      'false rollback',
      'sequence wrong',
      'bound covers',
      'promoted at 7 d',
      'planned',
      'textbook wrong at 7 d',
      'textbook wrong, hourly',
    ],
  );
  for (const row of alike.filter(wanted)) {
    const { scenario, plan } = prepare(row, 0);
    const outcomes = run(scenario, plan, simsOf(row), true);
    print([
      row.name,
      String(scenario.population.users),
      share(outcomes, (o) => o.stoppedAfter !== null),
      share(outcomes, (o) => o.missed),
      share(outcomes, (o) => o.covered === true),
      share(outcomes, (o) => o.verdicts[0] === 'promote'),
      `${(100 * (plan.horizons[0]?.power ?? 0)).toFixed(0)} %`,
      share(outcomes, (o) => o.textbookOnce),
      share(outcomes, (o) => o.textbookEver),
    ]);
  }
}

const SIZES_AND_MARGINS = [
  ['to promote', 2],
  ['to stop', 1],
  ['to stop', 2],
  ['to stop', 4],
] as const;

function harmful(): void {
  const print = begin(
    'A harm of one, two and four margins: stopped within 7 days, and promoted at 7 days. One margin is the edge: a sequence stops it, and the gate promotes it, with at most α; the first-error test has no margin.',
    ['harm', 'users (as planned)', 'margins', 'stopped', 'by first errors', 'median', 'promoted'],
  );
  for (const harm of harms.filter(wanted)) {
    for (const [size, margins] of SIZES_AND_MARGINS) {
      const { scenario, plan } = prepare({ ...harm, size }, harmOf(harm.guards, margins));
      const outcomes = run(scenario, plan, simsOf(harm), false);
      const hours = outcomes.map((o) => o.stoppedAfter ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b);
      const median = hours[Math.floor(hours.length / 2)] ?? Number.POSITIVE_INFINITY;
      print([
        harm.name,
        `${scenario.population.users} (${size})`,
        String(margins),
        share(outcomes, (o) => o.stoppedAfter !== null),
        share(outcomes, (o) => o.byFirstErrors),
        Number.isFinite(median) ? `${median} h` : '> 168 h',
        share(outcomes, (o) => o.verdicts[0] === 'promote'),
      ]);
    }
  }
}

function allHorizons(): void {
  const print = begin(
    'A harm of exactly one margin, followed through all four horizons (28 days, looks every 6 hours): each at most 5 %.',
    ['harm', 'promoted at any horizon', 'stopped by a sequence'],
  );
  for (const harm of harms.slice(0, 2).filter(wanted)) {
    const { scenario, plan } = prepare(
      { ...harm, size: 'to promote', lookEvery: 6 },
      harmOf(harm.guards, 1),
      28,
    );
    const outcomes = run(scenario, plan, Math.ceil(SIMS * 0.6), false);
    print([
      harm.name,
      share(outcomes, (o) => o.verdicts.at(-1) === 'promote'),
      share(outcomes, (o) => o.stoppedAfter !== null && !o.byFirstErrors),
    ]);
  }
}

const began = performance.now();
noDifference();
harmful();
allHorizons();
console.log(
  `\n100,000 users an arm on seven days, one metric, in memory: judged in ${millisecondsToJudge(100_000).toFixed(0)} ms.`,
);
console.log(`${SIMS} simulations a row; ${((performance.now() - began) / 1000).toFixed(0)} s.`);
