import type { GateMetric } from '../../domain/gate/types.ts';
import type { Population } from './population.ts';
import { durations, failures, guards, scores } from './scenarios.ts';

/** The rows of the benchmark's tables. */
export interface Row {
  name: string;
  guards: GateMetric[];
  metrics: (effect: number) => Population['metrics'];
  changes?: Partial<Population>;
  /**
   * Users that the plan asks for: to promote an equal canary, to promote also one that varies twice as much, to stop a harm of two margins as
   * well; or a number.
   */
  size: 'to promote' | 'if noisy' | 'to stop' | { users: number };
  /** Percentiles need the whole histogram at each look: fewer simulations. */
  sims?: number;
}

const all: GateMetric[] = Object.values(guards);
const everything = (effect: number): Population['metrics'] => ({
  'quality:judge': scores({ effect, trait: 0 }),
  error: failures(0.005, { trait: 1 }),
  violation: failures(0.002, { trait: 2 }),
  latency: durations({ unit: 2, trait: 3 }),
  ttft: durations({ unit: 0.4, trait: 4 }),
  tpot: durations({ unit: 0.03, trait: 5 }),
  cost: durations({ unit: 0.004, trait: 6, sigma: 0.4 }),
});

export const alike: Row[] = [
  {
    name: 'quality, clustered',
    guards: [guards.quality],
    metrics: (effect) => ({ 'quality:judge': scores({ effect }) }),
    size: 'to promote',
  },
  {
    name: 'quality, growing users',
    guards: [guards.quality],
    metrics: (effect) => ({ 'quality:judge': scores({ effect }) }),
    changes: { growing: true },
    size: 'to promote',
  },
  {
    name: 'quality varies by day',
    guards: [guards.quality],
    metrics: (effect) => ({ 'quality:judge': scores({ effect, dayEffect: 0.1 }) }),
    size: 'to promote',
  },
  {
    name: 'small arm, twice the variance',
    guards: [guards.quality],
    metrics: (effect) => ({ 'quality:judge': scores({ effect, spread: 2 }) }),
    size: 'to promote',
  },
  {
    name: 'the same, with users for it',
    guards: [guards.quality],
    metrics: (effect) => ({ 'quality:judge': scores({ effect, spread: 2 }) }),
    size: 'if noisy',
  },
  {
    name: 'errors 3 %',
    guards: [guards.error],
    metrics: (effect) => ({ error: failures(0.03, { effect }) }),
    size: { users: 6000 },
  },
  {
    name: 'errors 0.5 %',
    guards: [guards.error],
    metrics: (effect) => ({ error: failures(0.005, { effect }) }),
    size: 'to promote',
  },
  {
    name: 'errors 0.05 %',
    guards: [guards.error],
    metrics: (effect) => ({ error: failures(0.0005, { effect }) }),
    size: 'to promote',
  },
  {
    name: 'latency, heavy tail, ties',
    guards: [guards.latency],
    metrics: (effect) => ({ latency: durations({ unit: 1, effect }) }),
    size: 'to promote',
  },
  {
    name: 'latency p95, heavy tail, ties',
    guards: [guards.latencyP95],
    metrics: (effect) => ({ latency: durations({ unit: 1, effect }) }),
    size: 'to promote',
    sims: 0.8,
  },
  {
    name: 'all ten default guards',
    guards: all,
    metrics: everything,
    size: 'to promote',
    sims: 0.5,
  },
];

export const sizesAndMargins = [
  ['to promote', 2],
  ['to stop', 1],
  ['to stop', 2],
  ['to stop', 4],
] as const;

export interface Harm {
  name: string;
  guards: GateMetric[];
  metrics: (effect: number) => Population['metrics'];
  /** How many margins the harm is; unless told, one, two and four. */
  margins?: readonly number[];
}

export const harms: Harm[] = [
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
  },
  {
    name: 'quality among ten guards',
    guards: all,
    metrics: everything,
    margins: [2],
  },
];
