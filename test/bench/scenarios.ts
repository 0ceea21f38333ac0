import type { GateMetric } from '../../domain/gate/types.ts';
import type { Generator, Population } from './population.ts';

/** The applications that the benchmark simulates. Generators get the canary's effect; `trait` is the user's place in Person.traits. */

export const guards = {
  quality: { metric: 'quality:judge', direction: 'higher', margin: 0.02, scale: 'absolute', role: 'guard' },
  error: { metric: 'error', direction: 'lower', margin: 0.005, scale: 'absolute', role: 'guard' },
  violation: { metric: 'violation', direction: 'lower', margin: 0.005, scale: 'absolute', role: 'guard' },
  latency: { metric: 'latency', direction: 'lower', margin: 0.1, scale: 'log-mean', role: 'guard' },
  latencyP95: { metric: 'latency', direction: 'lower', margin: 0.15, scale: 'p95', role: 'guard' },
  ttft: { metric: 'ttft', direction: 'lower', margin: 0.1, scale: 'log-mean', role: 'guard' },
  ttftP95: { metric: 'ttft', direction: 'lower', margin: 0.15, scale: 'p95', role: 'guard' },
  tpot: { metric: 'tpot', direction: 'lower', margin: 0.1, scale: 'log-mean', role: 'guard' },
  tpotP95: { metric: 'tpot', direction: 'lower', margin: 0.15, scale: 'p95', role: 'guard' },
  cost: { metric: 'cost', direction: 'lower', margin: 0.05, scale: 'log-mean', role: 'guard' },
} as const satisfies Record<string, GateMetric>;

/** Scores with SD .25 and an intraclass correlation of .23. `spread` multiplies the canary's variance; `dayEffect` moves whole days. */
export function scores(options: {
  effect?: number;
  spread?: number;
  dayEffect?: number;
  trait?: number;
}): Generator {
  const { effect = 0, spread = 1, dayEffect = 0, trait = 0 } = options;
  const between = 0.25 * Math.sqrt(0.23);
  const within = 0.25 * Math.sqrt(0.77);
  const wider = Math.sqrt(spread);
  return (person, hour, random) => {
    const scale = person.canary ? wider : 1;
    const day =
      dayEffect * Math.sin(2.1 * Math.floor(hour / 24)) +
      (dayEffect / 2) * Math.sin((2 * Math.PI * hour) / 24);
    const own = scale * (between * (person.traits[trait] ?? 0) + within * random.normal());
    return 0.7 + day + own + (person.canary ? effect : 0);
  };
}

/** Failures at a rate that differs between users by a log-normal factor (σ = 1.2). */
export function failures(rate: number, options: { effect?: number; trait?: number } = {}): Generator {
  return (person, _hour, random) => {
    const factor = Math.exp(1.2 * (person.traits[options.trait ?? 0] ?? 0) - 0.72);
    const p = Math.min(0.9, (rate + (person.canary ? (options.effect ?? 0) : 0)) * factor);
    return random.uniform() < p ? 1 : 0;
  };
}

/** Heavy-tailed durations with ties: log-normal (σ = 1 unless told), a third of the variance between users, rounded to a tenth of `unit` seconds. */
export function durations(options: {
  unit: number;
  effect?: number;
  trait?: number;
  sigma?: number;
}): Generator {
  const { unit, effect = 0, trait = 0, sigma = 1 } = options;
  return (person, hour, random) => {
    const own = 0.58 * (person.traits[trait] ?? 0) + 0.82 * random.normal();
    const slow = person.canary ? effect : 0;
    const busy = 0.1 * Math.sin((2 * Math.PI * hour) / 24);
    const value = unit * Math.exp(busy + sigma * own + slow);
    return (Math.round((10 * value) / unit) * unit) / 10;
  };
}

export function population(metrics: Population['metrics'], changes: Partial<Population> = {}): Population {
  return { users: 6000, growing: false, requestsPerDay: 1.2, weight: 0.1, traits: 8, metrics, ...changes };
}
