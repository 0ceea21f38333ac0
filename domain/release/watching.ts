/**
 * What a look at a canary comes to: a breach, "not yet", or a hold because something could not be measured. Pure; the activities measure,
 * keep the looks and wait.
 */
import { counted } from '../counted.ts';
import { digestOf } from '../digest.ts';
import { figuresDigest } from '../gate/evidence.ts';
import { look } from '../gate/look.ts';
import type { GateFigures, GatePlan, Look } from '../gate/types.ts';
import { duration } from '../gate/wording.ts';
import {
  type GuardLook,
  type GuardReading,
  type GuardState,
  lookAt,
  noneStreams,
  readGuard,
} from '../guards.ts';
import type { GuardMetric, Policy } from '../policy/policy.ts';
import type { Arm } from '../words.ts';

/** A look that could not measure is repeated this soon (ms), so that a release resumes by itself when a fault has passed. */
const SOON = 10_000;

/** What is carried from look to look: times are ms since 1970. */
export interface GuardMemory {
  /** The last figure of the stable arm that was measured beside the canary. */
  stable: Partial<Record<GuardMetric, { value: number; requests: number; at: number }>>;
  /** When something was measured last; null: never. */
  measuredAt: number | null;
}

export const noMemory: GuardMemory = { stable: {}, measuredAt: null };

/** A look at the guards as it is kept: with the readings' inputs, so that it can be made again. */
export interface WatchedGuards extends GuardLook {
  /** Desired weight of the canary when it was taken. */
  weight: number;
  memory: GuardMemory;
  /** When the look was taken whose memory this one had, ms since 1970; null: none. */
  after: number | null;
}

/** The statistics' look as it is kept: with the counts of the arms, and what it was made from. */
export interface WatchedGate extends Look {
  arms: Record<Arm, { users: number; samples: number }>;
  /** The last batch of the ledger that it saw. */
  watermark: number;
  planDigest: string;
  figuresDigest: string;
}

/** A look at the ledger as it is kept. The same plan and figures give the same look, byte for byte. */
export function watchedGate(
  plan: GatePlan,
  figures: GateFigures,
  watermark: number,
  now: number,
): WatchedGate {
  const arms = { stable: { users: 0, samples: 0 }, canary: { users: 0, samples: 0 } };
  for (const { arm, newUsers, requests } of figures.totals.traffic) {
    arms[arm].users += newUsers;
    arms[arm].samples += requests;
  }
  return {
    ...look(plan, figures, now),
    arms,
    watermark,
    planDigest: digestOf(plan),
    figuresDigest: figuresDigest(figures),
  };
}

export interface GuardsInput {
  readings: GuardReading[];
  /** The look before, whose memory goes on; null: this is the first. */
  last: { at: number; memory: GuardMemory } | null;
  weight: number;
  policy: Pick<Policy['canary'], 'guards' | 'guardMinRequests'>;
  now: number;
}

/**
 * One look at the guards. With all users on the canary the stable arm has no traffic left to compare with: then its last measured figure
 * stands in, and the reading says so. An arm that never had enough requests for one is as little missed as it was before.
 */
export function watchedGuards({ readings, last, weight, policy, now }: GuardsInput): WatchedGuards {
  const memory = last?.memory ?? noMemory;
  const read = weight < 1 ? readings : readings.map((reading) => withRemembered(reading, memory, policy));
  const all = lookAt(read);
  const stable = { ...memory.stable };
  for (const { metric, state, stable: value, requests } of readings) {
    if ((state === 'ok' || state === 'failed') && value !== null && requests.stable !== null) {
      stable[metric] = { value, requests: requests.stable, at: now };
    }
  }
  const measured = read.length === 0 || read.some((reading) => isMeasured(reading.state));
  return {
    ...all,
    weight,
    memory: { stable, measuredAt: measured ? now : memory.measuredAt },
    after: last?.at ?? null,
  };
}

/**
 * A kept look at the guards once more, from the measurements that it was read from. `last`: the look that it was `after`.
 * null: it has readings that no guard of the policy gives.
 */
export function guardsAgain(
  kept: WatchedGuards,
  { last, policy, now }: Pick<GuardsInput, 'last' | 'policy' | 'now'>,
): WatchedGuards | null {
  const readings: GuardReading[] = [];
  for (const { metric, measured } of kept.readings) {
    const guard = policy.guards.find((candidate) => candidate.metric === metric);
    if (guard === undefined) return null;
    readings.push(readGuard(guard, measured, policy.guardMinRequests));
  }
  return watchedGuards({ readings, last, weight: kept.weight, policy, now });
}

/** Too few requests is an answer, too: the guards can see, and there is nothing to see yet. */
function isMeasured(state: GuardState): boolean {
  return state !== 'error';
}

function withRemembered(
  reading: GuardReading,
  memory: GuardMemory,
  { guards, guardMinRequests }: GuardsInput['policy'],
): GuardReading {
  const known = memory.stable[reading.metric];
  const guard = guards.find(({ metric }) => metric === reading.metric);
  const { metric, canary, requests, measured } = reading;
  const compared = reading.state === 'ok' || reading.state === 'failed';
  if (compared || !guard) return reading;
  const alone = (message: string): GuardReading => ({ ...reading, state: 'waiting', message });
  if (!known && noneStreams(measured.canary))
    return alone(`${metric}: no request of the canary was streamed`);
  if (canary === null || requests.canary === null || requests.canary <= 0) return reading;
  if (!known)
    return alone(`${metric}: stable never had the requests to compare everybody on the canary with`);
  const again = readGuard(
    guard,
    {
      canary: { requests: { value: requests.canary }, value: { value: canary } },
      stable: { requests: { value: known.requests }, value: { value: known.value } },
    },
    guardMinRequests,
  );
  const since = new Date(known.at).toISOString();
  return {
    ...again,
    measured,
    message: `${again.message} (everybody is on the canary: stable as measured at ${since})`,
  };
}

export type Watching =
  | { kind: 'breach'; words: string }
  /** Look again after `retryIn` ms. */
  | { kind: 'not-yet'; words: string; retryIn: number };

export interface WatchInput {
  guards: WatchedGuards;
  /** The newest look at the ledger; null: none yet. */
  gate: WatchedGate | null;
  policy: Pick<Policy, 'canary' | 'gate'>;
  /** When the canary began. */
  since: number;
  now: number;
}

/** What the watch does after a look. Only a bad value is a breach; the lack of data becomes one at the policy's maximum age (invariant 4). */
export function watching({ guards, gate, policy, since, now }: WatchInput): Watching {
  if (guards.state === 'failed') return { kind: 'breach', words: guards.message };
  if (gate?.harm) return { kind: 'breach', words: harmWords(gate) };
  const blind = now - (guards.memory.measuredAt ?? since);
  if (blind >= policy.canary.maxAge) {
    return {
      kind: 'breach',
      words: `nothing could be measured for ${duration(blind)}, the policy allows ${duration(policy.canary.maxAge)}: ${guards.message}`,
    };
  }
  const { lookEvery } = policy.gate;
  const soon = Math.min(lookEvery, SOON);
  const counts = countWords(gate, policy.gate);
  if (guards.state === 'error') {
    // Before the first requests have been scraped there is nothing to miss.
    const beginning = guards.memory.measuredAt === null && now - since < policy.canary.guardWindow;
    const hold = beginning ? 'waiting for the first requests' : `holding: ${guards.message}`;
    return { kind: 'not-yet', words: `${hold}; ${counts}; next look in ${duration(soon)}`, retryIn: soon };
  }
  const ledger = gate?.state === 'Error' ? `holding: ${reasonWords(gate)}; ` : '';
  const seen = guards.state === 'waiting' ? guards.message : 'guards ok';
  return {
    kind: 'not-yet',
    words: `${ledger}${counts}; ${seen}; next look in ${duration(lookEvery)}`,
    retryIn: lookEvery,
  };
}

/** Is a new look at the ledger due? Retries that come sooner only ask Prometheus again. */
export function gateLookDue(last: number | null, now: number, lookEvery: number): boolean {
  return last === null || now - last >= 0.9 * lookEvery;
}

/** May the gate be asked, with the guards as they are? null: yes; else why it waits. */
export function heldBy(guards: WatchedGuards): string | null {
  if (guards.state === 'ok') return null;
  if (guards.state === 'waiting') return null;
  return guards.message;
}

/** So many of the minimum that the gate asks for; the number alone once it is reached, because the canary goes on. */
function upTo(count: number, minimum: number, noun: string): string {
  return count < minimum ? `${count} of ${counted(minimum, noun)}` : counted(count, noun);
}

function countWords(gate: WatchedGate | null, { minSamples, minUsers }: Policy['gate']): string {
  const { samples, users } = gate?.arms.canary ?? { samples: 0, users: 0 };
  return `${upTo(samples, minSamples, 'sample')}, ${upTo(users, minUsers, 'user')} on canary`;
}

function harmWords({ reasons }: Look): string {
  return reasons
    .filter(({ code }) => code === 'harm' || code === 'first-errors')
    .map(({ guard, words }) => (guard === undefined ? words : `${guard}: ${words}`))
    .join('; ');
}

function reasonWords({ reasons, guards }: Look): string {
  const errors = new Set(guards.filter(({ state }) => state === 'Error').map(({ reason }) => reason?.code));
  return reasons
    .filter(({ code }) => code === 'clock' || code === 'sample-ratio' || errors.has(code))
    .map(({ guard, words }) => (guard === undefined ? words : `${guard}: ${words}`))
    .join('; ');
}
