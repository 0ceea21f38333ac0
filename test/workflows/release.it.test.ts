import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Client, WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { NativeConnection, type Worker, type WorkflowBundle } from '@temporalio/worker';
import pino from 'pino';
import type { ReleaseActivities, Step } from '../../activities/contract.ts';
import { notYet } from '../../activities/watch.ts';
import type { ReleasePlan } from '../../domain/release/spec.ts';
import type { StoryLine } from '../../domain/release/story.ts';
import { bundleWorkflows, createWorker, installRuntime } from '../../workers/worker.ts';
import { queries, type ReleaseOutcome, signals, updates } from '../../workflows/messages.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { startTemporal, type TestTemporal } from '../support/stack.ts';

const timing = {
  canaryWeight: 0.1,
  horizons: [100, 200],
  signOffRequired: true,
  signOffTimeout: 60_000,
  promotionSteps: [0.25, 0.5, 1],
  hold: 10,
  baking: 10,
};

/** The order of effects is what these tests look at: each activity writes its name, and the world is otherwise well. */
function world(overrides: Partial<ReleaseActivities> = {}, plan: Partial<ReleasePlan> = {}) {
  const effects: string[] = [];
  /** By their numbers, what the activities were told of the story. */
  const mirror: StoryLine[] = [];
  const activities: ReleaseActivities = {
    async registerRelease({ progress, input }) {
      return {
        release: progress.release,
        application: input.application,
        requester: input.requester,
        candidate: 'sha256:candidate',
        stable: 'sha256:stable',
        candidateServing: 'sha256:new',
        stableServing: 'sha256:old',
        sharesServing: false,
        timing,
        ...plan,
      };
    },
    checkPreflight: async () => ({ passed: true, summary: 'all well' }),
    evaluateCandidate: async () => ({ passed: true, summary: '30 of 30', digest: 'sha256:evaluation' }),
    provideServing: async () => {},
    removeServing: async () => {},
    planGate: async () => ({ passed: true, summary: 'seven days' }),
    moveTraffic: async () => {},
    watchGuards: async () => {
      throw notYet('412 of 1000 samples', 50);
    },
    judgeCanary: async () => ({ decision: 'promote', evidence: 'sha256:evidence', summary: 'not worse' }),
    holdCanary: async () => {},
    notify: async () => {},
    endRelease: async () => {},
    ...overrides,
  };
  const told = Object.entries(activities).map(([name, activity]) => [
    name,
    async (step: never) => {
      const { progress, move, serving, outcome } = step as Step & {
        move?: { to: string; weight: number };
        serving?: string;
        outcome?: string;
      };
      const detail = move
        ? ` ${move.to} ${move.weight}`
        : serving
          ? ` ${serving}`
          : outcome
            ? ` ${outcome}`
            : '';
      if (effects.at(-1) !== name + detail) effects.push(name + detail);
      mirror.splice(progress.sequence - progress.story.length, progress.story.length, ...progress.story);
      return (activity as (step: never) => Promise<unknown>)(step);
    },
  ]);
  return {
    effects,
    mirror,
    /** Without the looks, of which one may come late: it changes nothing. */
    deeds: () => effects.filter((effect) => effect !== 'watchGuards' && effect !== 'holdCanary'),
    activities: Object.fromEntries(told) as ReleaseActivities,
  };
}

/** Guards that cannot be measured, but for the times that the test lets them be. */
function unmeasuredGuards() {
  const held: string[] = [];
  let passes = 0;
  return {
    activities: {
      holdCanary: async ({ progress }: Step): Promise<void> => {
        if (passes > 0) {
          passes -= 1;
          return;
        }
        held.push(progress.stage);
        throw notYet('holding: errors: Prometheus does not answer', 20);
      },
    },
    /** Several more looks in this stage were in vain. */
    async heldIn(stage: string): Promise<void> {
      const before = held.length;
      await eventually(() => held.slice(before).filter((seen) => seen === stage).length > 3);
    },
    async measuredOnce(): Promise<void> {
      passes = 1;
      await eventually(() => passes === 0);
    },
  };
}

async function eventually(is: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await is())) {
    assert.ok(performance.now() < deadline, `never: ${is}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const input = { application: 'support-answers', prompt: 'support-answers@2', requester: 'ana' };
const approval = { by: 'ben', revision: 'sha256:candidate', evidence: 'sha256:evidence' };

describe('release workflow', () => {
  let temporal: TestTemporal;
  let connection: NativeConnection;
  let client: Client;
  let bundle: WorkflowBundle;
  let count = 0;

  before(async () => {
    installRuntime(pino({ level: 'silent' }));
    temporal = await startTemporal();
    connection = await NativeConnection.connect({ address: temporal.address });
    client = new Client({ connection: temporal.connection, namespace: temporal.namespace });
    bundle = await bundleWorkflows();
  });
  after(async () => {
    await connection?.close();
    await temporal?.stop();
  });

  async function during(
    { activities }: { activities: ReleaseActivities },
    act: (handle: Awaited<ReturnType<typeof start>>) => Promise<void>,
  ): Promise<void> {
    count += 1;
    const taskQueue = `queue-${count}`;
    const worker: Worker = await createWorker({
      connection,
      topology: { ...temporal.topology, taskQueue: { ...temporal.topology.taskQueue, name: taskQueue } },
      activities,
      bundle,
    });
    await worker.runUntil(async () => act(await start(taskQueue)));
  }

  async function start(taskQueue: string) {
    return client.workflow.start<(i: typeof input) => Promise<ReleaseOutcome>>('release', {
      taskQueue,
      workflowId: `release:r-${count}-${Date.now()}`,
      args: [input],
    });
  }

  async function until(handle: Awaited<ReturnType<typeof start>>, stage: string): Promise<void> {
    for (;;) {
      const status = await handle.query(queries.status);
      if (status.stage === stage) return;
      assert.notEqual(
        status.stage,
        'rolled-back',
        `rolled back while waiting for ${stage}: ${status.reason}`,
      );
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  it('walks from registration to done, is free for the next release, and removes the old serving last', async () => {
    const w = world();
    await during(w, async (handle) => {
      await until(handle, 'sign-off');
      await handle.executeUpdate(updates.approve, { args: [approval] });
      const outcome = await handle.result();
      assert.equal(outcome.outcome, 'promoted');
      assert.equal(outcome.evidence, 'sha256:evidence');
    });
    assert.deepEqual(w.deeds(), [
      'registerRelease',
      'checkPreflight',
      'provideServing sha256:new',
      'evaluateCandidate',
      'planGate',
      'moveTraffic canary 0.1',
      'judgeCanary',
      'notify',
      'moveTraffic canary 0.25',
      'moveTraffic canary 0.5',
      'moveTraffic canary 1',
      'moveTraffic promoted 0',
      'endRelease promoted',
      'removeServing sha256:old',
    ]);
  });

  it('has told its activities its whole story when it ends, whichever way', async () => {
    const promoted = world();
    await during(promoted, async (handle) => {
      await until(handle, 'sign-off');
      for (const name of ['pause', 'resume'] as const) {
        await handle.executeUpdate(updates[name], { args: [{ by: 'ana' }] });
      }
      await handle.executeUpdate(updates.approve, { args: [approval] });
      await handle.result();
      const story = await handle.query(queries.explain);
      assert.ok(story.some(({ text }) => text === 'Paused by ana; guards keep watching'));
      assert.deepEqual(promoted.mirror, story);
    });
    const asking = async (): Promise<never> => {
      throw notYet('12 of 30 answers', 20);
    };
    const aborted = world({ evaluateCandidate: asking }, { sharesServing: true });
    await during(aborted, async (handle) => {
      await until(handle, 'evaluating');
      await handle.executeUpdate(updates.abort, { args: [{ by: 'ana' }] });
      await handle.result();
      const story = await handle.query(queries.explain);
      assert.ok(story.some(({ text }) => text === 'Rolling back: aborted by ana'));
      assert.deepEqual(aborted.mirror, story);
    });
  });

  it('evaluates before provisioning when a live serving can answer, and provisions nothing for a bad prompt', async () => {
    const w = world(
      {
        evaluateCandidate: async () => ({ passed: false, summary: '20 of 30', digest: 'sha256:evaluation' }),
      },
      { sharesServing: true, candidateServing: 'sha256:old' },
    );
    await during(w, async (handle) => {
      const outcome = await handle.result();
      assert.equal(outcome.outcome, 'rolled-back');
      assert.match(outcome.reason, /EVALUATION_FAILED: 20 of 30/);
    });
    assert.deepEqual(w.effects, [
      'registerRelease',
      'checkPreflight',
      'evaluateCandidate',
      'endRelease rolled-back',
    ]);
  });

  it('evaluates on a serving of another application, takes hold of it, and lets go of it again', async () => {
    const w = world(
      { judgeCanary: async () => ({ decision: 'rollback', evidence: 'sha256:e', summary: 'harm' }) },
      { sharesServing: true },
    );
    await during(w, async (handle) => {
      assert.match((await handle.result()).reason, /GATE_ROLLBACK: harm/);
    });
    const effects = w.effects.filter((effect) => /evaluate|Serving/.test(effect));
    assert.deepEqual(effects, ['evaluateCandidate', 'provideServing sha256:new', 'removeServing sha256:new']);
  });

  it('rolls back on a breach, also while it waits for a person, traffic first', async () => {
    let breached = false;
    const w = world({
      watchGuards: async () => {
        if (!breached) throw notYet('guards ok', 20);
        return 'errors 12 % on canary, limit 6 %';
      },
    });
    await during(w, async (handle) => {
      await until(handle, 'sign-off');
      breached = true;
      const outcome = await handle.result();
      assert.equal(outcome.outcome, 'rolled-back');
      assert.match(outcome.reason, /errors 12 %/);
    });
    assert.deepEqual(w.deeds().slice(-3), [
      'moveTraffic withdrawn 0',
      'removeServing sha256:new',
      'endRelease rolled-back',
    ]);
  });

  it('goes on to the next horizon, and fails closed at the last', async () => {
    const judged = new Set<number>();
    const w = world({
      judgeCanary: async ({ horizon }) => {
        judged.add(horizon);
        return { decision: 'continue', evidence: 'sha256:e', summary: '999 samples' };
      },
    });
    await during(w, async (handle) => {
      const outcome = await handle.result();
      assert.equal(outcome.outcome, 'rolled-back');
      assert.match(
        outcome.reason,
        /^GATE_HORIZONS_SPENT: the last horizon, 0.2 s after the canary began, .*gate\.horizons/,
      );
    });
    assert.deepEqual([...judged], [0, 1]);
    assert.ok(!w.effects.includes('moveTraffic canary 0.25'));
  });

  it('rolls back on an invalid verdict at once, and opens no canary on a plan that cannot succeed', async () => {
    const judged: number[] = [];
    const invalid = world({
      judgeCanary: async ({ horizon }) => {
        judged.push(horizon);
        return { decision: 'invalid', evidence: 'sha256:e', summary: 'users are lost' };
      },
    });
    await during(invalid, async (handle) => {
      assert.match((await handle.result()).reason, /^GATE_INVALID: users are lost/);
    });
    assert.deepEqual(judged, [0]);

    const refused = world({ planGate: async () => ({ passed: false, summary: 'too few users' }) });
    await during(refused, async (handle) => {
      assert.match((await handle.result()).reason, /^POLICY_CANNOT_SUCCEED: too few users/);
    });
    assert.ok(!refused.effects.some((effect) => effect.startsWith('moveTraffic canary')));
  });

  it('tells one and the same start of the canary to gateways, guards and gate', async () => {
    const told = { moves: new Set<unknown>(), guards: new Set<unknown>(), gate: new Set<unknown>() };
    const w = world({
      moveTraffic: async ({ move }) => void (move.weight === 0.1 && told.moves.add(move.canarySince)),
      watchGuards: async ({ canarySince }) => {
        told.guards.add(canarySince);
        throw notYet('guards ok', 20);
      },
      judgeCanary: async ({ canarySince, horizon }) => {
        told.gate.add(canarySince);
        const decision = horizon === 0 ? 'continue' : 'rollback';
        return { decision, evidence: 'sha256:e', summary: 'harm' };
      },
    });
    await during(w, async (handle) => {
      await handle.result();
      const since = Date.parse((await handle.query(queries.status)).canarySince ?? '');
      const one = new Set([since]);
      assert.deepEqual(told, { moves: one, guards: one, gate: one });
    });
  });

  it('raises no weight and ends no baking while the guards cannot be measured, and goes on by itself (invariant 4)', async () => {
    const guards = unmeasuredGuards();
    const w = world(guards.activities, { timing: { ...timing, promotionSteps: [0.5, 1] } });
    const lastMove = () => w.effects.findLast((effect) => effect.startsWith('moveTraffic'));
    await during(w, async (handle) => {
      await until(handle, 'sign-off');
      await handle.executeUpdate(updates.approve, { args: [approval] });
      for (const [stage, move] of [
        ['promoting', 'moveTraffic canary 0.1'],
        ['promoting', 'moveTraffic canary 0.5'],
        ['promoting', 'moveTraffic canary 1'],
        ['baking', 'moveTraffic canary 1'],
      ] as const) {
        await guards.heldIn(stage);
        assert.equal(lastMove(), move);
        await guards.measuredOnce();
      }
      assert.equal((await handle.result()).outcome, 'promoted');
    });
  });

  it('raises no weight when the guards come back while it is paused, and looks at them again when it is resumed', async () => {
    const guards = unmeasuredGuards();
    const w = world(guards.activities);
    await during(w, async (handle) => {
      await until(handle, 'sign-off');
      await handle.executeUpdate(updates.approve, { args: [approval] });
      await guards.heldIn('promoting');
      await handle.executeUpdate(updates.pause, { args: [{ by: 'ana' }] });
      await guards.measuredOnce();
      const looks = async () => ((await handle.describe()).raw.pendingActivities ?? []).length;
      await eventually(async () => (await looks()) === 1);
      assert.equal((await handle.query(queries.status)).weight.desired, 0.1);
      await handle.executeUpdate(updates.resume, { args: [{ by: 'ana' }] });
      await guards.heldIn('promoting');
      assert.ok(!w.effects.includes('moveTraffic canary 0.25'));
      await handle.executeUpdate(updates.abort, { args: [{ by: 'ben' }] });
      await handle.result();
    });
  });

  it('watches the guards no longer once it rolls back, for whatever reason', async () => {
    let looksAtEnd = 0;
    const w = world(
      {
        moveTraffic: async ({ move }) => {
          if (move.to !== 'withdrawn') return;
          looksAtEnd += 1;
          if (looksAtEnd < 20) throw notYet('waiting for a gateway', 20);
        },
      },
      { timing: { ...timing, signOffTimeout: 100 } },
    );
    await during(w, async (handle) => {
      const { reason } = await handle.result();
      assert.match(reason, /^SIGN_OFF_TIMEOUT: nobody signed off within 0.1 s\. Start the release again/);
    });
    const after = w.effects.slice(w.effects.indexOf('moveTraffic withdrawn 0'));
    // One attempt may have begun when it was cancelled.
    assert.ok(after.filter((effect) => effect === 'watchGuards').length <= 1, after.join(', '));
  });

  it('ends only after a registration that was under way, so that nothing claims the application later', async () => {
    const [begun, mayClaim] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const w = world({
      registerRelease: async (step) => {
        begun.resolve();
        await mayClaim.promise;
        w.effects.push('claimed');
        return world().activities.registerRelease(step);
      },
    });
    await during(w, async (handle) => {
      await begun.promise;
      await handle.signal(signals.abort, { by: 'ana' });
      await eventually(
        async () => (await handle.query(queries.explain)).length > 0 && (await wasCancelled(handle)),
      );
      mayClaim.resolve();
      assert.equal((await handle.result()).outcome, 'rolled-back');
    });
    assert.deepEqual(w.effects, ['registerRelease', 'claimed', 'endRelease rolled-back']);
  });

  it('refuses a reason without end, and tells of the first refused signals only', async () => {
    const w = world();
    await during(w, async (handle) => {
      await until(handle, 'sign-off');
      const endless = { by: 'ana', reason: 'x'.repeat(1_001) };
      await assert.rejects(
        handle.executeUpdate(updates.pause, { args: [endless] }),
        WorkflowUpdateFailedError,
      );
      for (let count = 0; count < 30; count += 1) await handle.signal(signals.abort, endless);
      await handle.signal(signals.approve, approval);
      await handle.result();
      const story = await handle.query(queries.explain);
      const ignored = story.filter(({ text }) => text.startsWith('Ignored the signal abort'));
      assert.equal(ignored.length, 20);
      assert.match(ignored.at(-1)?.text ?? '', /not told$/);
      assert.ok(story.every(({ text }) => text.length < 500));
    });
  });

  it('refuses a sign-off by the requester, a stale one and a second one before they reach history', async () => {
    const w = world(unmeasuredGuards().activities);
    await during(w, async (handle) => {
      await until(handle, 'sign-off');
      const refused = async (args: typeof approval, code: string) => {
        await assert.rejects(handle.executeUpdate(updates.approve, { args: [args] }), (error) => {
          assert.ok(error instanceof WorkflowUpdateFailedError);
          assert.ok(error.cause instanceof ApplicationFailure);
          assert.equal(error.cause.type, code);
          return true;
        });
      };
      await refused({ ...approval, by: 'ana' }, 'SIGN_OFF_BY_REQUESTER');
      await refused({ ...approval, evidence: 'sha256:older' }, 'SIGN_OFF_STALE');
      await refused({ ...approval, revision: 'sha256:other' }, 'SIGN_OFF_STALE');
      await refused({ ...approval, by: ' ' }, 'INPUT_INVALID');
      await handle.executeUpdate(updates.approve, { args: [approval] });
      await refused(approval, 'DECISION_REFUSED');
      const { events } = await handle.fetchHistory();
      assert.equal(events?.filter((event) => event.workflowExecutionUpdateAcceptedEventAttributes).length, 1);
      await handle.executeUpdate(updates.abort, { args: [{ by: 'ben' }] });
      assert.equal((await handle.result()).outcome, 'rolled-back');
    });
  });

  it('ignores a refused signal aloud, and takes an allowed one', async () => {
    const w = world();
    await during(w, async (handle) => {
      await until(handle, 'sign-off');
      await handle.signal(signals.approve, { ...approval, by: 'ana' });
      await handle.signal(signals.approve, approval);
      assert.equal((await handle.result()).outcome, 'promoted');
      const story = await handle.query(queries.explain);
      assert.ok(story.some((line) => line.text.startsWith('Ignored the signal approve: ana asked')));
    });
  });

  it('holds a paused release at its weight, and goes on when resumed', async () => {
    let paused = false;
    const w = world({
      // The canary opens when it is paused already: its horizon must not come first.
      moveTraffic: async () => {
        if (!paused) throw notYet('waiting for a gateway', 20);
      },
    });
    await during(w, async (handle) => {
      await until(handle, 'canary');
      await handle.executeUpdate(updates.pause, { args: [{ by: 'ana', reason: 'Friday' }] });
      const status = await handle.query(queries.status);
      assert.equal(status.phase, 'Paused');
      paused = true;
      await eventually(() => horizonHasCome(handle));
      assert.equal((await handle.query(queries.status)).stage, 'canary');
      await handle.executeUpdate(updates.resume, { args: [{ by: 'ana' }] });
      await until(handle, 'sign-off');
      await handle.executeUpdate(updates.reject, { args: [{ by: 'ben', reason: 'not now' }] });
      const outcome = await handle.result();
      assert.match(outcome.reason, /rejected by ben: not now/);
    });
  });

  it('fails with the code when the registration is refused, and begins nothing', async () => {
    const w = world({
      registerRelease: async () => {
        throw ApplicationFailure.nonRetryable('busy', 'APPLICATION_HAS_RELEASE');
      },
    });
    await during(w, async (handle) => {
      await assert.rejects(handle.result(), (error) => {
        assert.ok(error instanceof WorkflowFailedError);
        assert.match(JSON.stringify(error.cause), /APPLICATION_HAS_RELEASE/);
        return true;
      });
    });
    assert.deepEqual(w.effects, ['registerRelease']);
  });

  it('rolls back when the workflow is cancelled in Temporal', async () => {
    const w = world();
    await during(w, async (handle) => {
      await until(handle, 'sign-off');
      await handle.cancel();
      const outcome = await handle.result();
      assert.equal(outcome.outcome, 'rolled-back');
    });
    assert.ok(w.effects.includes('moveTraffic withdrawn 0'));
  });

  for (const stage of [
    'preflight',
    'provisioning',
    'evaluating',
    'canary',
    'deciding',
    'sign-off',
    'promoting',
    'baking',
  ] as const) {
    it(`aborts in ${stage}: everybody back on stable, no canary serving; twice is once`, async () => {
      const gates: Partial<Record<string, keyof ReleaseActivities>> = {
        preflight: 'checkPreflight',
        provisioning: 'provideServing',
        evaluating: 'evaluateCandidate',
        deciding: 'judgeCanary',
        promoting: 'holdCanary',
        baking: 'holdCanary',
      };
      const stuck = gates[stage];
      const w = world(
        stuck === undefined
          ? {}
          : {
              [stuck]: async ({ progress }: Step) => {
                if (progress.stage === stage) throw notYet('waiting', 20);
              },
            },
        { timing: { ...timing, horizons: [stage === 'canary' ? 60_000 : 50] } },
      );
      await during(w, async (handle) => {
        if (stage === 'promoting' || stage === 'baking') {
          await until(handle, 'sign-off');
          await handle.executeUpdate(updates.approve, { args: [approval] });
        }
        await until(handle, stage);
        await handle.signal(signals.abort, { by: 'ana', reason: 'changed my mind' });
        await handle.signal(signals.abort, { by: 'ben', reason: 'me too' });
        const outcome = await handle.result();
        assert.equal(outcome.outcome, 'rolled-back');
        assert.match(outcome.reason, /aborted by ana: changed my mind/);
      });
      const provisioned = w.effects.includes('provideServing sha256:new');
      const moved = w.effects.includes('moveTraffic canary 0.1');
      // Without those of what was aborted, of which one may come late too.
      const deeds = w.deeds().filter((deed) => stuck === undefined || !deed.startsWith(stuck));
      assert.deepEqual(deeds.slice(moved ? -3 : provisioned ? -2 : -1), [
        ...(moved ? ['moveTraffic withdrawn 0'] : []),
        ...(provisioned ? ['removeServing sha256:new'] : []),
        'endRelease rolled-back',
      ]);
    });
  }

  async function horizonHasCome(handle: Awaited<ReturnType<typeof start>>): Promise<boolean> {
    const { events } = await handle.fetchHistory();
    return events?.some((event) => event.timerFiredEventAttributes) ?? false;
  }

  async function wasCancelled(handle: Awaited<ReturnType<typeof start>>): Promise<boolean> {
    const { events } = await handle.fetchHistory();
    return events?.some((event) => event.activityTaskCancelRequestedEventAttributes) ?? false;
  }
});
