import { type GateSample, SampleCollector } from '../../../domain/gate/collect.ts';
import type { GateData } from '../../../domain/gate/in-memory.ts';
import { figuresOf } from '../../../domain/gate/in-memory.ts';
import { planGate } from '../../../domain/gate/plan.ts';
import {
  defaultGatePolicy,
  type GateFigures,
  type GateMetric,
  type GatePlan,
  type GatePolicy,
} from '../../../domain/gate/types.ts';

export const DAY = 86_400_000;
export const START = Date.UTC(2026, 0, 5);

export const quality: GateMetric = {
  metric: 'quality:judge',
  direction: 'higher',
  margin: 0.02,
  scale: 'absolute',
  role: 'guard',
};
export const error: GateMetric = {
  metric: 'error',
  direction: 'lower',
  margin: 0.005,
  scale: 'absolute',
  role: 'guard',
};
export const latency: GateMetric = {
  metric: 'latency',
  direction: 'lower',
  margin: 0.1,
  scale: 'log-mean',
  role: 'guard',
};
export const latencyP95: GateMetric = { ...latency, scale: 'p95', margin: 0.15 };

export function policyOf(changes: Partial<GatePolicy>): GatePolicy {
  return { ...defaultGatePolicy, ...changes };
}

export function planOf(metrics: GateMetric[], changes: Partial<GatePolicy> = {}): GatePlan {
  return planGate(policyOf({ metrics, ...changes }), null);
}

export function collect(
  samples: Iterable<GateSample>,
  metrics: GateMetric[],
  options: {
    to?: number;
    weight?: number;
    phases?: { since: number; weight: number }[];
    stratum?: number;
  } = {},
): GateData {
  const collector = new SampleCollector({
    from: START,
    stratum: options.stratum ?? DAY,
    phases: options.phases ?? [{ since: START, weight: options.weight ?? 0.1 }],
    metrics,
  });
  for (const sample of samples) collector.add(sample);
  return collector.finish(options.to ?? START + 7 * DAY);
}

export function figures(
  samples: Iterable<GateSample>,
  metrics: GateMetric[],
  options: Parameters<typeof collect>[2] = {},
): GateFigures {
  return figuresOf(metrics, collect(samples, metrics, options));
}

/** A small generator with a seed (mulberry32): the tests must not depend on chance. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function normalFrom(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** A week of a healthy application: clustered users, both arms alike but for `harm` to the canary's quality. */
export function* week(options: {
  users: number;
  seed: number;
  weight?: number;
  harm?: number;
  errorRate?: number;
  canaryErrorRate?: number;
  days?: number;
  requestsPerDay?: number;
}): Generator<GateSample> {
  const random = randomFrom(options.seed);
  const days = options.days ?? 7;
  for (let user = 0; user < options.users; user += 1) {
    const arm = random() < (options.weight ?? 0.1) ? 'canary' : 'stable';
    const own = 0.1 * normalFrom(random);
    const speed = 0.3 * normalFrom(random);
    for (let day = 0; day < days; day += 1) {
      const requests = Math.floor(-Math.log(1 - random()) * (options.requestsPerDay ?? 1.2));
      for (let request = 0; request < requests; request += 1) {
        const rate =
          arm === 'canary'
            ? (options.canaryErrorRate ?? options.errorRate ?? 0.01)
            : (options.errorRate ?? 0.01);
        yield {
          at: START + day * DAY + Math.floor(random() * DAY),
          user: `u${user}`,
          arm,
          values: {
            'quality:judge':
              0.7 + own + 0.15 * normalFrom(random) - (arm === 'canary' ? (options.harm ?? 0) : 0),
            error: random() < rate ? 1 : 0,
            latency: Math.exp(0.5 + speed + 0.4 * normalFrom(random)),
          },
        };
      }
    }
  }
}
