/**
 * `npm run bench:gate`: how often the gate is wrong, and how fast it is right, on simulated canaries. Prints tables with 95 % Monte Carlo
 * margins. `--sims 1000` for narrower ones (default 250); `--only NAME` runs the rows whose name contains it. Seeds are fixed: the
 * same command prints the same numbers.
 */
import { parseArgs } from 'node:util';
import type { GateMetric, GatePlan } from '../../domain/gate/types.ts';
import type { Population } from './population.ts';
import { durations, failures, guards, population, scores } from './scenarios.ts';
import { type Outcome, planOf, type Scenario, simulate } from './simulate.ts';

const { values: options } = parseArgs({
  options: { sims: { type: 'string', default: '250' }, only: { type: 'string', default: '' } },
});
const SIMS = Number(options.sims);

interface Row {
  name: string;
  guards: GateMetric[];
  metrics: (effect: number) => Population['metrics'];
  changes?: Partial<Population>;
  /** Users: as a multiple of what the plan asks for, or a number of users. */
  size: { planned: number } | { users: number };
  lookEvery?: number;
  /** Percentiles need the whole histogram at each look: fewer simulations. */
  sims?: number;
}

const all = Object.values(guards);
const everything = (effect: number): Population['metrics'] => ({
  'quality:judge': scores({ effect, trait: 0 }),
  error: failures(0.005, { trait: 1 }),
  violation: failures(0.002, { trait: 2 }),
  latency: durations({ unit: 2, trait: 3 }),
  ttft: durations({ unit: 0.4, trait: 4 }),
  tpot: durations({ unit: 0.03, trait: 5 }),
  cost: durations({ unit: 0.004, trait: 6, sigma: 0.4 }),
});
const withoutPercentiles = all.filter((guard) => guard.scale !== 'p95');

const alike: Row[] = [
  {
    name: 'quality, clustered',
    guards: [guards.quality],
    metrics: () => ({ 'quality:judge': scores({}) }),
    size: { planned: 1 },
  },
  {
    name: 'quality, growing users',
    guards: [guards.quality],
    metrics: () => ({ 'quality:judge': scores({}) }),
    changes: { growing: true },
    size: { planned: 1 },
  },
  {
    name: 'quality varies by day',
    guards: [guards.quality],
    metrics: () => ({ 'quality:judge': scores({ dayEffect: 0.1 }) }),
    size: { planned: 1 },
  },
  {
    name: 'small arm, twice the variance',
    guards: [guards.quality],
    metrics: () => ({ 'quality:judge': scores({ spread: 2 }) }),
    size: { planned: 1 },
  },
  {
    name: 'errors 3 %',
    guards: [guards.error],
    metrics: () => ({ error: failures(0.03) }),
    size: { users: 6000 },
  },
  {
    name: 'errors 0.5 %',
    guards: [guards.error],
    metrics: () => ({ error: failures(0.005) }),
    size: { planned: 1 },
  },
  {
    name: 'errors 0.05 %',
    guards: [guards.error],
    metrics: () => ({ error: failures(0.0005) }),
    size: { planned: 1 },
  },
  {
    name: 'latency, heavy tail, ties',
    guards: [guards.latency],
    metrics: () => ({ latency: durations({ unit: 1 }) }),
    size: { planned: 1 },
  },
  {
    name: 'latency p95, heavy tail, ties',
    guards: [guards.latencyP95],
    metrics: () => ({ latency: durations({ unit: 1 }) }),
    size: { planned: 1 },
    lookEvery: 12,
    sims: 0.4,
  },
  {
    name: 'seven guards at once',
    guards: withoutPercentiles,
    metrics: everything,
    size: { planned: 1 },
    sims: 0.5,
  },
];

interface Harm {
  name: string;
  guards: GateMetric[];
  metrics: (effect: number) => Population['metrics'];
  lookEvery?: number;
  sims?: number;
}

const harms: Harm[] = [
  {
    name: 'quality',
    guards: [guards.quality],
    metrics: (effect) => ({ 'quality:judge': scores({ effect }) }),
  },
  {
    name: 'errors 0.5 %',
    guards: [guards.error],
    metrics: (effect) => ({ error: failures(0.005, { effect }) }),
  },
  {
    name: 'latency',
    guards: [guards.latency],
    metrics: (effect) => ({ latency: durations({ unit: 1, effect }) }),
  },
  {
    name: 'latency p95',
    guards: [guards.latencyP95],
    metrics: (effect) => ({ latency: durations({ unit: 1, effect }) }),
    lookEvery: 12,
    sims: 0.2,
  },
  { name: 'quality among seven guards', guards: withoutPercentiles, metrics: everything, sims: 0.15 },
];

/** Harm of some margins on the estimate's scale, signed. */
function harmOf(guard: GateMetric, margins: number): number {
  if (guard.scale === 'absolute') return (guard.direction === 'lower' ? 1 : -1) * margins * guard.margin;
  return Math.log1p(margins * guard.margin);
}

/** Sizes the population by the plan: so many users that it expects to promote at the first horizon, times `planned`. */
function prepare(row: Row, effect: number, days = 7): { scenario: Scenario; plan: GatePlan } {
  const make = (users: number, at: number): Scenario => ({
    name: row.name,
    population: population(row.metrics(at), { ...row.changes, users: Math.ceil(users) }),
    guards: row.guards,
    effect: at,
    days,
    lookEvery: row.lookEvery ?? 1,
  });
  let users = 'users' in row.size ? row.size.users : 4000;
  let plan = planOf(make(users, 0));
  if ('planned' in row.size) {
    while (plan.expectedHorizon > 0 || plan.refusal) {
      users *= 1.15;
      plan = planOf(make(users, 0));
    }
    users *= row.size.planned;
    if (row.size.planned !== 1) plan = planOf(make(users, 0));
  }
  return { scenario: make(users, effect), plan };
}

function share(hits: number, n: number): string {
  const p = hits / n;
  // Agresti–Coull half width, which is honest at 0 and 1.
  const adjusted = (hits + 2) / (n + 4);
  const margin = 1.96 * Math.sqrt((adjusted * (1 - adjusted)) / (n + 4));
  return `${(100 * p).toFixed(1)} ± ${(100 * margin).toFixed(1)} %`;
}

function run(scenario: Scenario, plan: GatePlan, sims: number, toTheEnd: boolean): Outcome[] {
  return Array.from({ length: sims }, (_, index) => simulate(scenario, plan, 10_000 + index, toTheEnd));
}

function table(title: string, header: string[], rows: string[][]): void {
  const widths = header.map((cell, column) =>
    Math.max(cell.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`;
  console.log(`\n${title}\n`);
  console.log(line(header));
  console.log(line(widths.map((width) => '-'.repeat(width))));
  for (const row of rows) console.log(line(row));
}

const wanted = (name: string) => name.includes(options.only);
const count = (outcomes: Outcome[], hit: (outcome: Outcome) => boolean) => outcomes.filter(hit).length;
const began = performance.now();

const first = alike
  .filter((row) => wanted(row.name))
  .map((row) => {
    const { scenario, plan } = prepare(row, 0);
    const sims = Math.ceil(SIMS * (row.sims ?? 1));
    const outcomes = run(scenario, plan, sims, true);
    return [
      row.name,
      String(scenario.population.users),
      share(
        count(outcomes, (o) => o.stoppedAfter !== null),
        sims,
      ),
      share(
        count(outcomes, (o) => o.missed),
        sims,
      ),
      share(
        count(outcomes, (o) => o.covered === true),
        sims,
      ),
      share(
        count(outcomes, (o) => o.verdicts[0] === 'promote'),
        sims,
      ),
      `${(100 * (plan.horizons[0]?.power ?? 0)).toFixed(0)} %`,
      share(
        count(outcomes, (o) => o.textbookOnce),
        sims,
      ),
      share(
        count(outcomes, (o) => o.textbookEver),
        sims,
      ),
    ];
  });
table(
  'No difference (A/A), 90/10, looked at every hour for 7 days (p95: every 12). Wrong: α = 5 % each; the bound at the horizon covers 97.5 %.',
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
  first,
);

const second: string[][] = [];
for (const harm of harms.filter((row) => wanted(row.name))) {
  const guard = harm.guards[0];
  if (!guard) continue;
  for (const planned of [1, 2]) {
    for (const margins of [1, 2, 4]) {
      const { scenario, plan } = prepare({ ...harm, size: { planned } }, harmOf(guard, margins));
      const sims = Math.ceil(SIMS * (harm.sims ?? 1));
      const outcomes = run(scenario, plan, sims, false);
      const hours = outcomes.map((o) => o.stoppedAfter ?? Number.POSITIVE_INFINITY).sort((a, b) => a - b);
      const median = hours[Math.floor(sims / 2)] ?? Number.POSITIVE_INFINITY;
      second.push([
        harm.name,
        `${planned} × plan (${scenario.population.users})`,
        String(margins),
        share(
          count(outcomes, (o) => o.stoppedAfter !== null),
          sims,
        ),
        Number.isFinite(median) ? `${median} h` : '> 168 h',
        share(
          count(outcomes, (o) => o.verdicts[0] === 'promote'),
          sims,
        ),
      ]);
    }
  }
}
table(
  'A harm of one, two and four margins: stopped within 7 days (one margin is the edge: at most α), and promoted at 7 days.',
  ['harm', 'users', 'margins', 'stopped', 'median', 'promoted'],
  second,
);

const third: string[][] = [];
for (const harm of harms.slice(0, 2).filter((row) => wanted(row.name))) {
  const guard = harm.guards[0];
  if (!guard) continue;
  const { scenario, plan } = prepare({ ...harm, size: { planned: 1 }, lookEvery: 6 }, harmOf(guard, 1), 28);
  const sims = Math.ceil(SIMS * 0.6);
  const outcomes = run(scenario, plan, sims, false);
  third.push([
    harm.name,
    share(
      count(outcomes, (o) => o.verdicts.at(-1) === 'promote'),
      sims,
    ),
    share(
      count(outcomes, (o) => o.stoppedAfter !== null),
      sims,
    ),
  ]);
}
table(
  'A harm of exactly one margin, followed through all four horizons (28 days, looks every 6 hours): each at most 5 %.',
  ['harm', 'promoted at any horizon', 'stopped by a guard'],
  third,
);
console.log(`\n${SIMS} simulations a row; ${((performance.now() - began) / 1000).toFixed(0)} s.`);
