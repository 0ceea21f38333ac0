import { counted } from '../counted.ts';
import { countFlag } from './flags.ts';
import type { RuntimeSpec, ScalingPolicy } from './serving.ts';

/** What an application asks of a serving. */
export interface Carried {
  application: string;
  /** Its stable arm is here. */
  stable: boolean;
  /** Share of its users whose canary arm is here, 0–1, as the route says. */
  observed: number;
  /** The share that its release is moving to, 0–1; not less than `observed` while a weight rises. */
  desired: number;
}

/** Absorbs what binary fractions add to a whole number: 0.55 × 100 must stay 55. */
const EPSILON = 1e-9;

/**
 * Share of an application's users that the serving must be able to carry at any moment. The stable arm counts whole, whatever the canary
 * has: a withdrawal brings everybody back within a second, and no replica starts so fast. Both arms on one serving are the whole, once.
 * While a weight rises the larger of the two counts, so that the replicas are there before the users.
 */
export function shareOf({ stable, observed, desired }: Carried): number {
  return stable ? 1 : Math.max(observed, desired);
}

/**
 * Replicas that the serving must have for its users, whatever the demand: `ceil(share × runtime.replicas)`, since runtime.replicas carry
 * the whole of one application's traffic; so no replica has more users than it has when the revision serves everybody. Applications that
 * share a serving add up. At least the policy's minimum, which is at least one.
 */
export function floorOf(runtime: RuntimeSpec, scaling: ScalingPolicy, carried: readonly Carried[]): number {
  const share = carried.reduce((sum, one) => sum + shareOf(one), 0);
  return Math.max(scaling.minReplicas, Math.ceil(share * runtime.replicas - EPSILON));
}

/** US dollars an hour of one replica; null: the policy does not say what a GPU costs. */
export function replicaCost(runtime: RuntimeSpec, { gpuHourPrice }: ScalingPolicy): number | null {
  return gpuHourPrice === null ? null : runtime.gpu.count * gpuHourPrice;
}

/** The most replicas that demand may bring: the policy's maximum, or fewer when they would cost more than it accepts. May be 0. */
export function maximumOf(runtime: RuntimeSpec, scaling: ScalingPolicy): number {
  const cost = replicaCost(runtime, scaling);
  if (cost === null || scaling.maxCostPerHour === null) return scaling.maxReplicas;
  return Math.min(scaling.maxReplicas, Math.floor(scaling.maxCostPerHour / cost + EPSILON));
}

export interface ScalingProblem {
  /** Of the scaling policy. */
  field: keyof ScalingPolicy;
  value: unknown;
  message: string;
  remedy: string;
}

/** What no single field of the policy can say, and no runtime is needed for. */
export function scalingProblem(scaling: ScalingPolicy): ScalingProblem | null {
  const { minReplicas, maxReplicas, target, shrinkBelow, maxCostPerHour, gpuHourPrice } = scaling;
  if (minReplicas > maxReplicas) {
    return {
      field: 'minReplicas',
      value: minReplicas,
      message: `is above maxReplicas, ${maxReplicas}`,
      remedy: 'Give minReplicas at most maxReplicas',
    };
  }
  if (shrinkBelow >= target) {
    return {
      field: 'shrinkBelow',
      value: shrinkBelow,
      message: `is not below target, ${target}: replicas would come and go`,
      remedy: 'Leave room between the two, e.g. target 0.8 and shrinkBelow 0.3',
    };
  }
  if (maxCostPerHour !== null && gpuHourPrice === null) {
    return {
      field: 'maxCostPerHour',
      value: maxCostPerHour,
      message: 'bounds nothing while nobody knows what a GPU costs',
      remedy: 'Give gpuHourPrice, US dollars an hour and GPU',
    };
  }
  return null;
}

/** Why the users' floor does not fit under the policy's maximum; null: it does. To be refused before anything is provisioned. */
export function floorProblem(
  runtime: RuntimeSpec,
  scaling: ScalingPolicy,
  carried: readonly Carried[],
): ScalingProblem | null {
  const floor = floorOf(runtime, scaling, carried);
  if (floor <= maximumOf(runtime, scaling)) return null;
  if (floor > scaling.maxReplicas) {
    return {
      field: 'maxReplicas',
      value: scaling.maxReplicas,
      message: `allows ${counted(scaling.maxReplicas, 'replica')}, and all users need ${floor}`,
      remedy: `Give maxReplicas at least ${floor}, or lower runtime.replicas`,
    };
  }
  const cost = floor * (replicaCost(runtime, scaling) ?? 0);
  return {
    field: 'maxCostPerHour',
    value: scaling.maxCostPerHour,
    message: `allows $${scaling.maxCostPerHour} an hour, and the ${floor} replicas that all users need cost $${Number(cost.toFixed(2))}`,
    remedy: `Give maxCostPerHour at least ${Math.ceil(cost)}, or lower runtime.replicas or gpu.count`,
  };
}

/** What a replica's engine says of its load; null where it does not say. */
export interface EngineLoad {
  running: number | null;
  waiting: number | null;
  /** Share of the KV cache in use, 0–1. */
  cacheUsage: number | null;
}

/** The most that one replica counts for, however long its queue: a burst is grown after in steps, as the HPA does it. */
const MAX_UTILISATION = 2;

/** Requests that wait for a tenth as long as they run: so much of a queue means full. */
const FULL_QUEUE = 0.1;

/** Time constant of the smoothed load, in ms: a request that waits at the moment of a look is no load yet, half a minute of them is. */
const SMOOTHING_MS = 30_000;

/** A gap between two looks, in ms, after which nothing is known of before. */
const FORGOTTEN_AFTER_MS = 60_000;

/**
 * How busy a replica is; 1: it can take no more; null: it does not say. It is the fullest of what runs out: the KV cache; where the flags
 * bound them, the sequences of a batch; and time, which the queue shows. By Little's law waiting / running is the time that requests wait
 * to the time that they run. Every request waits for the step under way, so that a busy vLLM that keeps up has short queues all the time,
 * and one request of each engine's does not count.
 */
export function utilisationOf(load: EngineLoad | null, runtime: RuntimeSpec): number | null {
  if (load === null || load.running === null || load.waiting === null || load.cacheUsage === null)
    return null;
  const { running, waiting, cacheUsage } = load;
  // Both are sums over the replica's engines, of which each has a batch of its own.
  const engines = countFlag(runtime, 'data-parallel-size') ?? 1;
  const sequences = countFlag(runtime, 'max-num-seqs');
  const batch = sequences === undefined ? 0 : running / (sequences * engines);
  const queue = Math.max(0, waiting - engines) / Math.max(1, running);
  const pressure = queue < FULL_QUEUE ? queue / FULL_QUEUE : 1 + queue - FULL_QUEUE;
  return Math.min(MAX_UTILISATION, Math.max(Math.min(1, cacheUsage), Math.min(1, batch), pressure));
}

/** The load as it was noted last, and how long ago, in ms. */
export interface NotedLoad {
  load: number;
  ago: number;
}

/**
 * The serving's load, in replicas: the sum of the utilisations that are known, smoothed over the looks, so that no single look decides.
 * What was not looked at for long begins at nothing.
 */
export function smoothedLoad(utilisations: readonly (number | null)[], before: NotedLoad | null): number {
  if (before === null || before.ago > FORGOTTEN_AFTER_MS) return 0;
  const now = utilisations.reduce<number>((sum, one) => sum + (one ?? 0), 0);
  return now + (before.load - now) * Math.exp(-before.ago / SMOOTHING_MS);
}

/** Is every answering replica known, and are they idle on average? What cannot be seen is never idle (invariant 4). */
export function isLow(
  load: number,
  utilisations: readonly (number | null)[],
  { shrinkBelow }: ScalingPolicy,
): boolean {
  if (utilisations.length === 0 || utilisations.includes(null)) return false;
  return load / utilisations.length < shrinkBelow;
}

export interface Standing {
  /** Replicas wanted until now. */
  replicas: number;
  floor: number;
  maximum: number;
  /** In replicas, smoothed. */
  load: number;
  /** How long, in ms, every look has found it low; 0: this one did not. */
  lowFor: number;
}

/**
 * How many replicas the serving is to have now. Growth is the HPA's formula, ceil(replicas × utilisation / target), over the replicas that
 * answer: those that still load do no work and are wanted already, so that one burst is not answered anew at every look. A replica that
 * does not say how busy it is counts as idle for growing and as busy for shrinking. Shrinking takes one replica at a time, each after its
 * own while of low utilisation, and only if the rest then stays under the target. The floor stands above the maximum: users come first,
 * and what costs too much is refused at preflight.
 */
export function replicasFor(standing: Standing, scaling: ScalingPolicy): number {
  const { replicas, floor, maximum, load, lowFor } = standing;
  if (scaling.by === 'autoscaler') return floor;
  const needed = Math.ceil(load / scaling.target - EPSILON);
  const most = Math.max(floor, maximum);
  if (needed > replicas) return clamp(needed, floor, most);
  const shrinks = lowFor >= scaling.shrinkAfter && needed < replicas;
  return clamp(shrinks ? replicas - 1 : replicas, floor, most);
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}
