/** What a policy says of the gate. Durations are milliseconds. */

export type Direction = 'higher' | 'lower';

/**
 * `absolute`: difference of means, canary − stable. `log-mean`: difference of means of ln(value), a ratio of geometric means.
 * `p95`: difference of ln(95th percentile), a ratio of percentiles.
 */
export type Scale = 'absolute' | 'log-mean' | 'p95';

/** `guard`: must not be worse. `success`: must not be worse either, and one of the successes must be better for a promotion. */
export type MetricRole = 'guard' | 'success';

export interface GateMetric {
  /** `error`, `violation`, `latency`, `ttft`, `tpot`, `cost` or `quality:<evaluator>`. */
  metric: string;
  /** Which way is better. */
  direction: Direction;
  /** The largest harm that is tolerated: in the metric's unit if `absolute`, else a share (0.1 = 10 %). > 0 */
  margin: number;
  scale: Scale;
  role: MetricRole;
}

/** Durations are milliseconds. */
export interface GatePolicy {
  /** When the gate may say promote, after the canary began; rising; whole weeks in production. */
  horizons: number[];
  /** Samples (served requests) that each arm needs. */
  minSamples: number;
  /** Users that each arm needs. */
  minUsers: number;
  /** Time between two looks of the guards. */
  lookEvery: number;
  alpha: {
    /** Chance that any guard ever stops a harmless canary, over all guards and all looks together. */
    harm: number;
    /** Chance that a canary that is worse by a margin is promoted, over all horizons together. */
    nonInferiority: number;
  };
  /** Chance that a canary equal to the stable arm is promoted at the expected horizon. */
  power: number;
  metrics: GateMetric[];
  /** Planned share of users on the canary, 0 < weight < 1. */
  weight: number;
  /** Length of a stratum of the data; a day in production. */
  stratum: number;
}

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const WEEK = 7 * DAY;

const guard = (metric: string, direction: Direction, margin: number, scale: Scale): GateMetric => ({
  metric,
  direction,
  margin,
  scale,
  role: 'guard',
});

export const defaultGatePolicy: GatePolicy = {
  horizons: [WEEK, 2 * WEEK, 3 * WEEK, 4 * WEEK],
  minSamples: 1000,
  minUsers: 250,
  lookEvery: 5 * MINUTE,
  alpha: { harm: 0.05, nonInferiority: 0.05 },
  power: 0.9,
  metrics: [
    guard('quality:judge', 'higher', 0.02, 'absolute'),
    guard('error', 'lower', 0.005, 'absolute'),
    guard('violation', 'lower', 0.005, 'absolute'),
    guard('latency', 'lower', 0.1, 'log-mean'),
    guard('latency', 'lower', 0.15, 'p95'),
    guard('ttft', 'lower', 0.1, 'log-mean'),
    guard('ttft', 'lower', 0.15, 'p95'),
    guard('tpot', 'lower', 0.1, 'log-mean'),
    guard('tpot', 'lower', 0.15, 'p95'),
    guard('cost', 'lower', 0.05, 'log-mean'),
  ],
  weight: 0.1,
  stratum: DAY,
};
