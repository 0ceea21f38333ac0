import { baselineOf, baselineRequests } from '../../domain/gate/baseline.ts';
import { look } from '../../domain/gate/look.ts';
import { planGate } from '../../domain/gate/plan.ts';
import { welch } from '../../domain/gate/reference.ts';
import {
  type Decision,
  defaultGatePolicy,
  type GateBaseline,
  type GateMetric,
  type GatePlan,
  type GatePolicy,
} from '../../domain/gate/types.ts';
import { judge } from '../../domain/gate/verdict.ts';
import { type Population, randomOf, requestsOf } from './population.ts';
import { RunningCanary } from './running.ts';

const HOUR = 3_600_000;

export interface Scenario {
  name: string;
  population: Population;
  guards: GateMetric[];
  /** True effect of the canary on the first guard's scale (0: A/A); built into the generators by the caller. */
  effect: number;
  /** How long the simulation runs, days; the policy is the default one with its four horizons. */
  days: number;
  /** Hours between looks. */
  lookEvery: number;
}

export interface Outcome {
  /** Hours until a guard stopped the canary; null: never. */
  stoppedAfter: number | null;
  /** Was it the first-error test that stopped it, and no sequence? */
  byFirstErrors: boolean;
  /** Did the sequence of the first guard ever exclude the true effect, on the harmful side? */
  missed: boolean;
  /** Verdicts at the horizons, up to the first that is not `continue`. */
  verdicts: Decision[];
  /** At the first horizon: did the one-sided bound of the first guard cover the true effect? */
  covered: boolean | null;
  /** Textbook rule (Welch on requests, p < .05, 1000 samples an arm): significant at the first horizon; at any look. */
  textbookOnce: boolean;
  textbookEver: boolean;
}

/** What a week of so many of the same users before the release tells. */
export function baselineFrom(scenario: Scenario, users: number): GateBaseline {
  const random = randomOf(99);
  const population = { ...scenario.population, users, weight: 0 };
  const { people, byHour } = requestsOf(population, 7 * 24, random);
  const running = new RunningCanary(scenario.guards, Object.keys(population.metrics), 7, people, 0);
  for (const [hour, served] of byHour.entries()) serve(running, population, people, served, hour, random);
  const baseline = baselineOf(policyOf(scenario), running.figures(7 * 24 * HOUR, baselineRequests));
  if (!baseline) throw new Error('no user came');
  return baseline;
}

/** The plan for a baseline that was taken with other, more users, so that chance in it does not choose the size. */
export function planOf(scenario: Scenario, baseline: GateBaseline, baselineUsers: number): GatePlan {
  const factor = scenario.population.users / baselineUsers;
  return planGate(policyOf(scenario), { ...baseline, users: baseline.users.map((users) => users * factor) });
}

function policyOf(scenario: Scenario): GatePolicy {
  return { ...defaultGatePolicy, metrics: scenario.guards, weight: scenario.population.weight };
}

function serve(
  running: RunningCanary,
  population: Population,
  people: readonly { canary: boolean; traits: number[] }[],
  users: readonly number[],
  hour: number,
  random: ReturnType<typeof randomOf>,
): void {
  const names = Object.keys(population.metrics);
  for (const user of users) {
    const person = people[user];
    if (!person) continue;
    const values: Record<string, number> = {};
    for (const name of names) values[name] = population.metrics[name]?.(person, hour, random) ?? 0;
    running.add(user, Math.floor(hour / 24), values);
  }
}

/** One canary, looked at every `lookEvery` hours and at the horizons; with `toTheEnd` it goes on after a stop, so that coverage can be counted. */
export function simulate(scenario: Scenario, plan: GatePlan, seed: number, toTheEnd: boolean): Outcome {
  const { population, guards, days } = scenario;
  const random = randomOf(seed);
  const { people, byHour } = requestsOf(population, 24 * days, random);
  const running = new RunningCanary(guards, Object.keys(population.metrics), days, people, population.weight);
  const outcome: Outcome = {
    stoppedAfter: null,
    byFirstErrors: false,
    missed: false,
    verdicts: [],
    covered: null,
    textbookOnce: false,
    textbookEver: false,
  };
  const lower = guards[0]?.direction === 'lower';
  const firstMetric = guards[0]?.metric ?? '';
  for (const [hour, users] of byHour.entries()) {
    serve(running, population, people, users, hour, random);
    const elapsed = hour + 1;
    const horizon = plan.horizons.findIndex(({ after }) => after === elapsed * HOUR);
    if (elapsed % scenario.lookEvery !== 0 && horizon < 0) continue;
    const figures = running.figures(elapsed * HOUR);
    const seen = look(plan, figures, elapsed * HOUR);
    const interval = seen.guards[0]?.interval;
    if (interval && (lower ? interval[0] > scenario.effect : interval[1] < scenario.effect))
      outcome.missed = true;
    if (seen.harm && outcome.stoppedAfter === null) {
      outcome.stoppedAfter = elapsed;
      outcome.byFirstErrors = seen.guards.every((guard) => !guard.breached);
    }
    const significant = textbook(running, firstMetric);
    outcome.textbookEver ||= significant;
    if (outcome.stoppedAfter !== null && !toTheEnd) return outcome;
    if (horizon < 0) continue;
    if (horizon === 0) outcome.textbookOnce = significant;
    const verdict = judge(plan, figures, horizon);
    const bound = verdict.guards[0]?.bound;
    if (horizon === 0 && bound != null)
      outcome.covered = lower ? bound >= scenario.effect : bound <= scenario.effect;
    const open = outcome.verdicts.every((decision) => decision === 'continue');
    if (open) outcome.verdicts.push(verdict.decision);
    if (verdict.decision !== 'continue' && !toTheEnd) return outcome;
  }
  return outcome;
}

function textbook(running: RunningCanary, metric: string): boolean {
  const moments = ([0, 1] as const).map((arm) => {
    const [n, sum, squares] = running.requestMoments(metric, arm);
    return { n, mean: sum / n, variance: (squares - (sum * sum) / n) / (n - 1) };
  });
  const [stable, canary] = moments;
  if (!stable || !canary || Math.min(stable.n, canary.n) < 1000) return false;
  if (stable.variance + canary.variance === 0) return false;
  return welch(stable, canary).p < 0.05;
}
