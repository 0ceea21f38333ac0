import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  isCancellation,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { Move, Progress, ReleaseActivities, Step } from '../activities/contract.ts';
import type { ReleaseInput, ReleasePlan } from '../domain/release/spec.ts';
import type { Phase, Stage } from '../domain/words.ts';
import { activities } from './activities.ts';
import { listen } from './conversation.ts';
import { display } from './display.ts';
import { initialState, type ReleaseState, type Stop } from './state.ts';

type Extra<Name extends keyof ReleaseActivities> = Omit<Parameters<ReleaseActivities[Name]>[0], keyof Step>;
type Result<Name extends keyof ReleaseActivities> = Awaited<ReturnType<ReleaseActivities[Name]>>;

/** So many refused signals stand in a release's story. */
const MOST_IGNORED = 20;

const phaseOf: Partial<Record<Stage, Phase>> = {
  'sign-off': 'Paused',
  done: 'Healthy',
  'rolling-back': 'Degraded',
  'rolled-back': 'Degraded',
};

/**
 * One run of a release: its state, the way its stages act on the world, and the undoing of what they did.
 * It holds no rule of its own: the story is in release.ts, the rules are in domain/.
 */
export class Run {
  readonly state: ReleaseState;
  /** Known once the release is registered. */
  plan: ReleasePlan | null = null;
  private readonly compensations: (() => Promise<void>)[] = [];
  private readonly shown = new Map<string, string | null>();
  private readonly scope = new CancellationScope();
  private ignored = 0;
  /** So many lines of the story are known to be in the store. */
  private mirrored = 0;

  constructor(input: ReleaseInput) {
    const info = workflowInfo();
    this.state = initialState(input, info.workflowId, info.startTime);
    listen(this);
  }

  /** Enters a stage and tells so. */
  enter(stage: Stage, text: string): void {
    this.state.stage = stage;
    this.tell(text);
  }

  /** Adds a line to the story and shows the state. */
  tell(text: string): void {
    const { state } = this;
    state.phase = state.paused && !state.stop ? 'Paused' : (phaseOf[state.stage] ?? 'Progressing');
    state.story.push({ at: new Date().toISOString(), stage: state.stage, text });
    display(state, this.shown);
  }

  /** Tells of a refused signal. Of the first ones only: whoever sends them may never stop, and the story is kept whole. */
  ignore(text: string): void {
    this.ignored += 1;
    if (this.ignored > MOST_IGNORED) return;
    this.tell(this.ignored < MOST_IGNORED ? text : `${text}. Further refused signals are not told`);
  }

  /** Runs an activity; its summary is what the Temporal UI shows on it. */
  async act<Name extends keyof ReleaseActivities>(
    name: Name,
    summary: string,
    extra: Extra<Name>,
  ): Promise<Result<Name>> {
    const activity = activities[name] as unknown as {
      executeWithOptions(options: { summary: string }, args: [unknown]): Promise<Result<Name>>;
    };
    const progress = this.progress();
    const result = await activity.executeWithOptions({ summary }, [{ ...extra, progress }]);
    this.mirrored = Math.max(this.mirrored, progress.sequence);
    return result;
  }

  /** Registers how to undo an effect: before the effect, because it may happen and its answer be lost. */
  undoWith(compensation: () => Promise<void>): void {
    this.compensations.push(compensation);
  }

  /** Moves traffic and waits for the gateways (invariant 2). */
  async move(to: Move['to'], weight: number): Promise<void> {
    const { state } = this;
    state.weight.desired = weight;
    const phase = state.moves;
    state.moves += 1;
    const canarySince = state.canarySince === null ? null : Date.parse(state.canarySince);
    await this.act('moveTraffic', `Move the canary's weight to ${weight}`, {
      move: { to, weight, phase, canarySince },
    });
    state.weight.observed = weight;
  }

  /** Lets time pass; a paused release goes on only when it is resumed. */
  async rest(milliseconds: number, summary: string): Promise<void> {
    await sleep(Math.max(1, milliseconds), { summary });
    await condition(() => !this.state.paused);
  }

  /** Lets time pass on a canary; it goes on only when it is not paused and its guards can be measured, both at the same time. */
  async hold(milliseconds: number, summary: string): Promise<void> {
    const until = Date.now() + milliseconds;
    do {
      await condition(() => !this.state.paused);
      await this.act('holdCanary', summary, { until });
    } while (this.state.paused);
  }

  /** Runs the story until it ends or somebody or something stops the release. */
  async untilStopped(story: () => Promise<void>): Promise<void> {
    try {
      await this.scope.run(story);
    } finally {
      // However the story ends: no watch beside it looks on, or tells of a breach, while what it watched is taken away.
      this.scope.cancel();
    }
    if (this.state.stop !== null) throw new CancelledFailure('stopped');
  }

  /** Keeps a watch beside the story: what it finds stops the release, and so does a watch that can watch no more. */
  watch(look: () => Promise<string>): void {
    look().then(
      (breach) => this.stop({ reason: breach, by: 'slipway' }),
      (error) => {
        if (!isCancellation(error)) this.stop(this.stopFor(error));
      },
    );
  }

  /** Stops the release; the first reason counts. */
  stop(stop: Stop): void {
    if (this.state.stop !== null) return;
    this.state.stop = stop;
    this.scope.cancel();
  }

  /** Why the story ended early, in words, and by whom. */
  stopFor(error: unknown): Stop {
    if (this.state.stop !== null) return this.state.stop;
    if (isCancellation(error)) return { reason: 'the workflow was cancelled in Temporal', by: 'temporal' };
    const cause = error instanceof ActivityFailure ? error.cause : error;
    const type = cause instanceof ApplicationFailure && cause.type ? `${cause.type}: ` : '';
    return { reason: `${type}${cause instanceof Error ? cause.message : String(cause)}`, by: 'slipway' };
  }

  /** Undoes, in reverse order, what was begun. */
  async undo(): Promise<void> {
    for (const compensation of this.compensations.toReversed()) await compensation();
  }

  private progress(): Progress {
    const { release, stage, phase, reason, story } = this.state;
    return { release, sequence: story.length, stage, phase, reason, story: story.slice(this.mirrored) };
  }
}
