import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { WorkflowFailedError, WorkflowNotFoundError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { applyTopology } from '../../adapters/temporal/apply.ts';
import { activeRelease, getRelease, listEvents } from '../../store/releases.ts';
import { findRoute } from '../../store/routes.ts';
import { signals } from '../../workflows/messages.ts';
import { ASKED_AT, asAttempt } from '../support/activity.ts';
import { type Dying, dyingReleases } from '../support/dying-releases.ts';
import { stepOf } from '../support/releases.ts';
import { until } from '../support/servings.ts';
import { slowGateway } from '../support/slow-gateway.ts';

const HOUR = 3_600_000;
const own = { 'max-num-seqs': 7 };

describe('sweeper', () => {
  let world: Awaited<ReturnType<typeof dyingReleases>>;
  before(async () => {
    world = await dyingReleases();
  });
  after(() => world?.stop());

  /** The one serving of the stable revision runs on, untouched; everybody is on it, and the application is free for the next release. */
  async function isRolledBack(dying: Dying, reason: RegExp, runBefore: number[]): Promise<void> {
    const { db, releases, living } = world;
    const { application, plan } = dying;
    const row = await world.ended(dying);
    assert.deepEqual([row.stage, row.phase], ['rolled-back', 'Degraded']);
    assert.match(row.reason ?? '', reason);
    const route = await findRoute(db, application);
    assert.deepEqual(
      [route?.stable, route?.canary, route?.release, route?.weight],
      [plan.stable, null, null, 0],
    );
    assert.deepEqual(living().sort(), runBefore.sort());
    await wasToldOnce(dying, 'rolled-back');
    assert.equal(await activeRelease(db, application), null);
    const next = await releases.register({ application });
    await releases.end(next.release, 'rolled-back');
  }

  async function wasToldOnce({ plan }: Dying, outcome: string): Promise<void> {
    // The notice comes after the end.
    const kinds = ['sweep', 'ended', 'notice'];
    const look = async () =>
      (await listEvents(world.db, plan.release)).filter(({ kind }) => kinds.includes(kind));
    const events = await until('told', look, ({ length }) => length >= kinds.length);
    assert.deepEqual(
      events.map(({ kind }) => kind),
      kinds,
    );
    assert.equal(events[1]?.details.outcome, outcome);
  }

  /** What was running before the release, to compare with what runs after it. */
  function runningNow({ stablePids }: Dying, others: number[]): number[] {
    return [...new Set([...others, ...stablePids])];
  }

  it('ends a release that was terminated in its canary: weight 0, its serving gone, the application free', async () => {
    const others = world.living();
    const dying = await world.begin({ flags: own });
    await world.reaches(dying, 'canary', ({ weight }) => weight.observed > 0);
    await dying.handle.terminate('by mistake');
    assert.deepEqual(await world.sweep(), { swept: [dying.plan.release], underWay: [] });
    await isRolledBack(
      dying,
      /^its workflow was terminated in Temporal in canary$/,
      runningNow(dying, others),
    );
    assert.deepEqual(await world.sweep(), { swept: [], underWay: [] });
  });

  it('ends one that was terminated while its serving was starting, and nothing starts it again', async () => {
    const others = world.living();
    const dying = await world.begin({ flags: { ...own, unhealthy: true } });
    await world.reaches(dying, 'provisioning');
    await until('the serving starts', world.living, ({ length }) => length > others.length + 1);
    await dying.handle.terminate();
    await world.sweep();
    await isRolledBack(dying, /in provisioning$/, runningNow(dying, others));
    const late = asAttempt(() =>
      world.real.provideServing({ ...stepOf(dying.plan.release), serving: dying.plan.candidateServing }),
    );
    await assert.rejects(late, /needs no serving any more/);
    assert.deepEqual(world.living().sort(), runningNow(dying, others).sort());
  });

  it('ends one that was terminated between two steps of its promotion; a late step moves nothing', async () => {
    const others = world.living();
    const dying = await world.begin({
      flags: own,
      verdict: 'promote',
      policy: { promotion: { steps: [0.5, 1], hold: HOUR } },
    });
    await world.reaches(dying, 'promoting', ({ weight }) => weight.observed === 0.5);
    await dying.handle.terminate();
    await world.sweep();
    await isRolledBack(dying, /in promoting$/, runningNow(dying, others));
    for (const to of ['canary', 'promoted'] as const) {
      const move = { to, weight: 1, phase: 2, canarySince: ASKED_AT };
      const late = asAttempt(() => world.real.moveTraffic({ ...stepOf(dying.plan.release), move }));
      await assert.rejects(late, (error) => {
        assert.ok(error instanceof ApplicationFailure);
        // Refused for good, be it by the fence or before that because the release has ended.
        assert.ok(error.nonRetryable, error.message);
        assert.match(error.type ?? '', /^(ROUTE_CONFLICT|SERVING_FAILED)$/);
        return true;
      });
    }
    const route = await findRoute(world.db, dying.application);
    assert.deepEqual([route?.stable, route?.canary], [dying.plan.stable, null]);
  });

  it('takes everybody back from a release that was terminated while it baked', async () => {
    const others = world.living();
    const dying = await world.begin({
      flags: own,
      verdict: 'promote',
      policy: { baking: { duration: HOUR } },
    });
    await world.reaches(dying, 'baking');
    await dying.handle.terminate();
    await world.sweep();
    await isRolledBack(dying, /in baking$/, runningNow(dying, others));
  });

  it('goes on where a roll-back was terminated, and keeps its reason; nothing ends before the gateways know', async (t) => {
    const others = world.living();
    const dying = await world.begin({ flags: own });
    await world.reaches(dying, 'canary', ({ weight }) => weight.observed > 0);
    const gateway = await slowGateway(t, world.db);
    await dying.handle.signal(signals.abort, { by: 'ana', reason: 'harm' });
    await world.reaches(dying, 'rolling-back');
    await until(
      'the route is withdrawn',
      () => findRoute(world.db, dying.application),
      (route) => route?.release === null,
    );
    await dying.handle.terminate();
    await world.sweep();
    const sweep = world.client.workflow.getHandle(`sweep:${dying.plan.release}`);
    const pending = async () => (await sweep.describe()).raw.pendingActivities ?? [];
    const [waiting] = await until('the sweep waits', pending, ([activity]) => (activity?.attempt ?? 0) > 1);
    assert.match(waiting?.lastFailure?.message ?? '', /waiting for gateway-/);
    assert.equal(world.living().length, others.length + 2);
    assert.equal((await getRelease(world.db, dying.plan.release)).endedAt, null);
    assert.deepEqual(await world.sweep(), { swept: [], underWay: [dying.plan.release] });
    gateway.goOn();
    await isRolledBack(
      dying,
      /^aborted by ana: harm; its workflow was terminated in Temporal while it rolled back$/,
      runningNow(dying, others),
    );
  });

  it('completes a release that was terminated when its candidate was the stable revision already', async (t) => {
    const others = world.living();
    // It has the table of the last weight, and not that of the promotion.
    const slow = Promise.withResolvers<Awaited<ReturnType<typeof slowGateway>>>();
    const dying = await world.begin({
      flags: own,
      verdict: 'promote',
      policy: { promotion: { steps: [1], hold: 1 } },
      moved: async ({ weight }) => {
        if (weight === 1) slow.resolve(await slowGateway(t, world.db));
      },
    });
    const gateway = await slow.promise;
    await world.reaches(dying, 'done');
    await until(
      'the route is promoted',
      () => findRoute(world.db, dying.application),
      (route) => route?.stable === dying.plan.candidate,
    );
    await dying.handle.terminate();
    await world.sweep();
    const sweep = world.client.workflow.getHandle(`sweep:${dying.plan.release}`);
    const pending = async () => (await sweep.describe()).raw.pendingActivities ?? [];
    await until('the sweep waits', pending, ([activity]) => (activity?.attempt ?? 0) > 1);
    assert.equal(world.living().length, others.length + 2, 'the old serving is kept until the gateways know');
    gateway.goOn();
    const row = await world.ended(dying);
    assert.deepEqual([row.stage, row.phase], ['done', 'Healthy']);
    assert.match(
      row.reason ?? '',
      /^its workflow was terminated in Temporal when the candidate was the stable/,
    );
    const route = await findRoute(world.db, dying.application);
    assert.deepEqual([route?.stable, route?.canary, route?.weight], [dying.plan.candidate, null, 0]);
    const left = await until('one serving runs', world.living, ({ length }) => length === others.length + 1);
    assert.ok(!dying.stablePids.some((pid) => left.includes(pid)), 'the old serving is gone');
    await wasToldOnce(dying, 'promoted');
  });

  it('ends a release whose workflow timed out', async () => {
    const others = world.living();
    const dying = await world.begin({ timeout: 20_000 });
    await world.reaches(dying, 'canary');
    await assert.rejects(dying.handle.result(), WorkflowFailedError);
    await world.sweep();
    await isRolledBack(dying, /its workflow timed out in canary$/, runningNow(dying, others));
  });

  it('ends one that Temporal has lost, when the store has heard nothing of it either', async () => {
    const others = world.living();
    const dying = await world.begin({ flags: own });
    await world.reaches(dying, 'canary', ({ weight }) => weight.observed > 0);
    await world.temporal.connection.workflowService.deleteWorkflowExecution({
      namespace: world.temporal.namespace,
      workflowExecution: { workflowId: dying.plan.release },
    });
    // Until it is, it was only terminated.
    const forgotten = () =>
      dying.handle.describe().then(
        () => false,
        (error) => error instanceof WorkflowNotFoundError,
      );
    await until('Temporal has forgotten it', forgotten, Boolean);
    await until(
      'found',
      () => world.sweep(),
      ({ swept }) => swept.includes(dying.plan.release),
    );
    await isRolledBack(dying, /^Temporal does not know its workflow in /, runningNow(dying, others));
  });

  it('ends one whose workflow completed and left it active', async () => {
    const left = await world.releases.register({ application: 'left' });
    await world.client.workflow.execute('sweeper', {
      workflowId: left.release,
      taskQueue: world.temporal.taskQueue,
      args: [{ grace: HOUR }],
    });
    assert.deepEqual(await world.sweep(HOUR), { swept: [], underWay: [] });
    assert.deepEqual(await world.sweep(), { swept: [left.release], underWay: [] });
    const ended = () => activeRelease(world.db, 'left');
    await until('it has ended', ended, (release) => release === null);
  });

  it('leaves alone what runs, what has only just ended, and what was only just claimed', async () => {
    const running = await world.begin();
    const justEnded = await world.begin();
    const claimed = await world.releases.register({ application: 'claimed' });
    await world.reaches(running, 'canary');
    await world.reaches(justEnded, 'canary');
    await justEnded.handle.terminate();
    assert.deepEqual(await world.sweep(HOUR), { swept: [], underWay: [] });
    assert.deepEqual(await world.sweep(0), { swept: [justEnded.plan.release], underWay: [] });
    await world.ended(justEnded);
    for (const { release } of [running.plan, claimed]) {
      assert.equal((await getRelease(world.db, release)).endedAt, null, release);
      await assert.rejects(world.client.workflow.getHandle(`sweep:${release}`).describe());
    }
    await running.handle.signal(signals.abort, { by: 'ana' });
    await world.ended(running);
    await world.releases.end(claimed.release, 'rolled-back');
  });

  it('sweeps once when two sweepers look at the same time', async () => {
    const others = world.living();
    const dying = await world.begin({ flags: own });
    await world.reaches(dying, 'canary', ({ weight }) => weight.observed > 0);
    await dying.handle.terminate();
    const reports = await Promise.all([world.sweep(), world.sweep()]);
    assert.deepEqual([...reports.flatMap(({ swept, underWay }) => [...swept, ...underWay])].slice(0, 1), [
      dying.plan.release,
    ]);
    await isRolledBack(dying, /terminated/, runningNow(dying, others));
  });

  it("does not let a release whose gateways are slow hold another one's sweep", async (t) => {
    const others = world.living();
    const stuck = await world.begin({ flags: own });
    await world.reaches(stuck, 'canary', ({ weight }) => weight.observed > 0);
    const free = await world.begin({ flags: { ...own, unhealthy: true } });
    await world.reaches(free, 'provisioning');
    await stuck.handle.terminate();
    await free.handle.terminate();
    // Its route is moved after the gateway's last look; the other one has none to move.
    const gateway = await slowGateway(t, world.db);
    await world.sweep();
    const sweep = world.client.workflow.getHandle(`sweep:${stuck.plan.release}`);
    const pending = async () => (await sweep.describe()).raw.pendingActivities ?? [];
    await until('the sweep waits', pending, ([activity]) => (activity?.attempt ?? 0) > 1);
    gateway.goOn();
    // Which of the two ends first is open.
    await world.ended(free);
    await isRolledBack(stuck, /terminated/, runningNow(free, runningNow(stuck, others)));
  });

  it('runs by its schedule, in a history of few events', async () => {
    const dying = await world.begin();
    await world.reaches(dying, 'canary');
    await dying.handle.terminate();
    const { topology, connection } = world.temporal;
    await applyTopology({ ...topology, sweeper: { every: 24 * HOUR, grace: 0 } }, connection, {
      localServer: true,
    });
    await world.client.schedule.getHandle('slipway-sweeper').trigger();
    await world.ended(dying);
    const sweep = world.client.workflow.getHandle(`sweep:${dying.plan.release}`);
    await sweep.result();
    assert.ok(((await sweep.fetchHistory()).events?.length ?? 0) < 40);
    const found = async () => {
      const ids: string[] = [];
      for await (const { workflowId } of world.client.workflow.list({ query: `WorkflowType = 'sweeper'` })) {
        if (workflowId.startsWith('slipway-sweeper-')) ids.push(workflowId);
      }
      return ids;
    };
    assert.equal((await until('the list has it', found, ({ length }) => length > 0)).length, 1);
  });
});
