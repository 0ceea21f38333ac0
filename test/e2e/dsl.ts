/**
 * Tests that read like a release:
 *
 *     await given(world).aRelease({ serving: 'small' })
 *       .when('canary', workerIsKilled)
 *       .when('sign-off', adaSigns)
 *       .ends('done', eachEffectHappenedOnce);
 */
import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { PendingActivity, ReleaseView } from '../../api/releases/read.ts';
import type { ApiClient } from '../../cli/client.ts';
import { SlipwayError } from '../../domain/errors.ts';
import type { StoryLine } from '../../domain/release/story.ts';
import type { Stage } from '../../domain/words.ts';
import { getRelease } from '../../store/releases.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { ownServing, type Policy, policy, prompt, type Size } from './documents.ts';
import { countMoves } from './moves.ts';
import { type ServingProcess, servingProcesses } from './servings.ts';
import { APPLICATION, type World } from './world.ts';

/** A release as the API shows it; times are ISO 8601 on the wire. */
export type Seen = Omit<ReleaseView, 'endedAt'> & { endedAt: string | null; pending: PendingActivity[] };

export interface Wanted {
  /** A serving of its own, small or with weights that take seconds to load; left out: the prompt changes only. */
  serving?: Size;
  policy?: Policy;
  goldenSet?: string;
  webhook?: string;
}

/** A stage, or anything else that can be seen of a release. */
export type Moment = Stage | ((seen: Seen) => boolean);

export type Act = (release: Running) => Promise<unknown> | unknown;

/** What the world looked like before the release. */
export interface Before {
  moves: number;
  processes: ServingProcess[];
}

/** A release under way. */
export class Running {
  readonly world: World;
  readonly id: string;
  readonly before: Before;

  constructor(world: World, id: string, before: Before) {
    this.world = world;
    this.id = id;
    this.before = before;
  }

  /** undefined while no API or no worker can say anything of it yet. */
  async see(): Promise<Seen | undefined> {
    try {
      return await this.world.engineer.call<Seen>('GET', `/v1/releases/${this.id}`);
    } catch (error) {
      if (error instanceof SlipwayError && error.code === 'DEPENDENCY_UNAVAILABLE') return undefined;
      throw error;
    }
  }

  /** Waits for the moment. Fails at once when the release has ended without it, and with what it was doing when it takes too long. */
  async reaches(moment: Moment): Promise<Seen> {
    const is = typeof moment === 'function' ? moment : (seen: Seen) => seen.stage === moment;
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const seen = await this.see();
      if (seen?.live && is(seen)) return seen;
      const name = typeof moment === 'function' ? moment.name || String(moment) : moment;
      if (seen?.endedAt) {
        assert.fail(`${this.id} ended ${seen.stage} before ${name}: ${seen.reason}\n${await this.told()}`);
      }
      if (performance.now() > deadline) {
        const pending = seen?.pending.map(({ activity, message }) => `${activity}: ${message}`).join('; ');
        assert.fail(`${this.id} is ${seen?.stage} and not ${name} (${pending})\n${await this.told()}`);
      }
      await delay(50);
    }
  }

  /** The release has ended, and so has what its workflow had to tidy up after it. */
  async ended(): Promise<Seen> {
    const seen = await this.reaches((seen) => seen.endedAt !== null);
    const { workflowId } = await getRelease(this.world.db, this.id);
    // A sweep has ended it when its workflow did not.
    await this.world.temporal.workflow
      .getHandle(workflowId)
      .result()
      .catch(() => undefined);
    return seen;
  }

  async story(): Promise<StoryLine[]> {
    const path = `/v1/releases/${this.id}/explain`;
    return (await this.world.engineer.call<{ story: StoryLine[] }>('GET', path)).story;
  }

  async told(): Promise<string> {
    return (await this.story().catch(() => []))
      .map(({ at, stage, text }) => `${at} ${stage}: ${text}`)
      .join('\n');
  }

  async decide(by: ApiClient, name: string, body: object = {}): Promise<Seen> {
    return by.call<Seen>('POST', `/v1/releases/${this.id}/${name}`, body);
  }
}

/** What the simulated model answers depends on the prompt's every word: so the same prompts in every run. */
let prompts = 0;

/** Pushes a prompt that nobody has pushed before. @returns its `name@n` */
export async function pushPrompt({ engineer }: World): Promise<string> {
  prompts += 1;
  const text = prompt(`rule ${prompts}`);
  const { version } = await engineer.call<{ version: number }>('POST', '/v1/prompts', text);
  return `${APPLICATION}@${version}`;
}

/** The body of `POST /v1/releases`. */
export async function requestFor(world: World, wanted: Wanted): Promise<Record<string, unknown>> {
  return {
    application: APPLICATION,
    prompt: await pushPrompt(world),
    goldenSet: wanted.goldenSet ?? `${APPLICATION}@1`,
    policy: policy(wanted.policy),
    ...(wanted.serving === undefined ? {} : ownServing(wanted.serving)),
    ...(wanted.webhook === undefined ? {} : { webhook: wanted.webhook }),
  };
}

export async function beforeRelease(world: World): Promise<Before> {
  return { moves: await countMoves(world.db), processes: servingProcesses(world) };
}

class Scenario {
  readonly #world: World;
  readonly #begin: () => Promise<Running>;
  readonly #steps: { moment: Moment; acts: Act[] }[] = [];

  constructor(world: World, begin: () => Promise<Running>) {
    this.#world = world;
    this.#begin = begin;
  }

  /** As soon as the moment is seen, does these one after the other. */
  when(moment: Moment, ...acts: Act[]): this {
    this.#steps.push({ moment, acts });
    return this;
  }

  /** Runs it all. The release ends so, and then these hold. A release that a failed test leaves is aborted, for the next one's sake. */
  async ends(stage: 'done' | 'rolled-back', ...holds: Act[]): Promise<Running> {
    const release = await this.#begin();
    try {
      for (const { moment, acts } of this.#steps) {
        await release.reaches(moment);
        for (const act of acts) await act(release);
      }
      const seen = await release.ended();
      assert.equal(seen.stage, stage, `${seen.reason}\n${await release.told()}`);
      for (const hold of holds) await hold(release);
      return release;
    } catch (error) {
      await release.decide(this.#world.engineer, 'abort').catch(() => undefined);
      await release.ended().catch(() => undefined);
      throw error;
    }
  }
}

export function given(world: World) {
  return {
    /** A new prompt, asked for by erin through the API. */
    aRelease: (wanted: Wanted = {}) =>
      new Scenario(world, async () => {
        const before = await beforeRelease(world);
        const request = await requestFor(world, wanted);
        const { release } = await world.engineer.call<{ release: string }>('POST', '/v1/releases', request);
        return new Running(world, release, before);
      }),
    /** A release that was begun in another way. */
    aReleaseBegunBy: (begin: () => Promise<string>) =>
      new Scenario(world, async () => {
        const before = await beforeRelease(world);
        return new Running(world, await begin(), before);
      }),
  };
}

/** Everybody's gateway routes this share of users to the canary. */
export const weightObserved = (weight: number): Moment =>
  Object.defineProperty((seen: Seen) => seen.weight?.observed === weight, 'name', {
    value: `weight ${weight}`,
  });

/** Ada signs exactly what the release stands on. When the API cannot tell in time whether it was taken, she signs again, as it says. */
export async function adaSigns(release: Running): Promise<void> {
  const { candidate, evidence } = await release.reaches('sign-off');
  for (let again = false; ; again = true) {
    try {
      await release.decide(release.world.approver, 'approve', { revision: candidate, evidence });
      return;
    } catch (error) {
      if (!(error instanceof SlipwayError)) throw error;
      if (again && error.code === 'DECISION_REFUSED') return; // the one before was taken
      if (error.code !== 'DEPENDENCY_UNAVAILABLE') throw error;
    }
  }
}
