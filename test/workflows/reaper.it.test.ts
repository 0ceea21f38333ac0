import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { createReapingActivities, type Unneeded } from '../../activities/reaping.ts';
import type { ServingObservation } from '../../adapters/serving/adapter.ts';
import { shortDigest } from '../../domain/digest.ts';
import type { FlagValue, WantedServing } from '../../domain/serving/serving.ts';
import { lastReaperRun, listReaped, listUnneeded } from '../../store/reaping.ts';
import { listEvents } from '../../store/releases.ts';
import { dropLease, publishEndpoints, readGeneration } from '../../store/routes.ts';
import { getServing } from '../../store/servings.ts';
import type { ReaperInput, ReaperReport } from '../../workflows/reaper.ts';
import { ASKED_AT, asAttempt } from '../support/activity.ts';
import { dyingReleases } from '../support/dying-releases.ts';
import { silentLog } from '../support/log.ts';
import { exampleServing, until } from '../support/servings.ts';
import { slowGateway } from '../support/slow-gateway.ts';

const HOUR = 3_600_000;

describe('reaper', () => {
  let world: Awaited<ReturnType<typeof dyingReleases>>;
  let count = 0;
  before(async () => {
    world = await dyingReleases();
  });
  after(() => world?.stop());

  async function begin(input: ReaperInput) {
    count += 1;
    const handle = await world.client.workflow.start<(given: ReaperInput) => Promise<ReaperReport>>(
      'reaper',
      {
        workflowId: `reaper-${count}`,
        taskQueue: world.temporal.taskQueue,
        args: [input],
      },
    );
    const waiting = async (): Promise<string[]> =>
      ((await handle.describe()).raw.pendingActivities ?? []).flatMap(
        ({ lastFailure }) => lastFailure?.message ?? [],
      );
    return { handle, waiting };
  }

  /** One run. */
  const reap = async (input: ReaperInput): Promise<ReaperReport> => (await begin(input)).handle.result();

  /** One look at a time of the test's choosing, without a workflow. */
  const inspect = (at: number, grace: number): Promise<Unneeded[]> =>
    asAttempt(() => world.real.inspectServings({ grace, dryRun: true }), { asked: at });

  /** A serving that runs and that the store has never heard of. */
  async function orphan(name: string, flags: Record<string, FlagValue> = {}): Promise<WantedServing> {
    const serving = exampleServing(2, { 'served-for': name, ...flags });
    await world.adapter.apply(serving);
    await until(
      'ready',
      () => world.adapter.observe(serving.digest),
      ({ state }) => state === 'ready',
    );
    return serving;
  }

  const stateOf = async ({ digest }: { digest: string }) => (await world.adapter.observe(digest)).state;

  it('never touches what a route or an active release needs', async () => {
    const established = world.living().length;
    const release = await world.begin({ flags: { 'max-num-seqs': 7 } });
    await world.reaches(release, 'canary', ({ weight }) => weight.observed > 0);
    for (let run = 0; run < 3; run += 1) {
      const report = await reap({ grace: 0, dryRun: false });
      assert.deepEqual([report.unneeded, report.removed], [0, []]);
    }
    assert.equal(world.living().length, established + 2);
    assert.deepEqual(await listUnneeded(world.db), []);
    await release.handle.executeUpdate('abort', { args: [{ by: 'ana' }] });
    await world.ended(release);
  });

  it('reports an orphan, and removes it when its grace is over and not before', async () => {
    const serving = await orphan('orphan');
    const first = await reap({ grace: 0, dryRun: false });
    assert.deepEqual([first.unneeded, first.gpus, first.due, first.removed], [1, 2, [], []]);
    const [row] = await listUnneeded(world.db);
    assert.deepEqual(
      [row?.serving, row?.known, row?.application, row?.gpus],
      [serving.digest, false, null, 2],
    );

    const waiting = await reap({ grace: HOUR, dryRun: false });
    assert.deepEqual([waiting.unneeded, waiting.due, waiting.removed], [1, [], []]);
    assert.equal(await stateOf(serving), 'ready');

    const last = await reap({ grace: 1, dryRun: false });
    assert.deepEqual([last.due, last.removed], [[row?.name], [row?.name]]);
    assert.equal(await stateOf(serving), 'absent');
    assert.deepEqual(await listUnneeded(world.db), []);
    const [reaped] = await listReaped(world.db, 1);
    assert.deepEqual([reaped?.serving, reaped?.ending], [serving.digest, 'removed']);
    assert.deepEqual((await reap({ grace: 0, dryRun: false })).unneeded, 0);
  });

  it('removes nothing in a dry run, and says that it did not', async () => {
    const serving = await orphan('dry');
    await reap({ grace: 0, dryRun: true });
    const report = await reap({ grace: 0, dryRun: true });
    assert.equal(report.due.length, 1);
    assert.deepEqual(report.removed, []);
    assert.equal(await stateOf(serving), 'ready');
    assert.deepEqual(
      [(await lastReaperRun(world.db))?.dryRun, (await listUnneeded(world.db)).length],
      [true, 1],
    );
    await reap({ grace: 0, dryRun: false });
    assert.equal(await stateOf(serving), 'absent');
  });

  it('waits until every live gateway has acknowledged that nobody is sent there (invariant 5)', async (t) => {
    // Known to the store and published, as what a release left that never came to its end.
    const plan = await world.releases.register({ application: 'left-behind' });
    await world.provide(plan.release, plan.candidateServing);
    const { endpoints } = await getServing(world.db, plan.candidateServing);
    await world.releases.end(plan.release, 'rolled-back');
    const gateway = await slowGateway(t, world.db);
    await reap({ grace: 0, dryRun: false });
    const { handle, waiting } = await begin({ grace: 0, dryRun: false });
    await until(
      'its endpoints are withdrawn',
      () => getServing(world.db, plan.candidateServing),
      (serving) => serving.endpoints.length === 0,
    );
    const [message] = await until('the reaper waits', waiting, ({ length }) => length > 0);
    assert.match(message ?? '', /waiting for gateways to let go of it: gateway-/);
    assert.equal((await world.adapter.observe(plan.candidateServing)).state, 'ready');
    gateway.goOn();
    assert.equal((await handle.result()).removed.length, 1);
    assert.equal((await world.adapter.observe(plan.candidateServing)).state, 'absent');
    const kinds = (await listEvents(world.db, plan.release)).map(({ kind }) => kind);
    assert.deepEqual(
      kinds.filter((kind) => kind === 'unneeded' || kind === 'reaped'),
      ['unneeded', 'reaped'],
    );
    assert.ok(endpoints.length > 0);
  });

  it('keeps what a release has taken hold of since it was found', async () => {
    const first = await world.releases.register({ application: 'comes-back' });
    await world.provide(first.release, first.candidateServing);
    await world.releases.end(first.release, 'rolled-back');
    await reap({ grace: 0, dryRun: true });
    assert.equal((await listUnneeded(world.db)).length, 1);
    const second = await world.releases.register({ application: 'comes-back' });
    assert.equal(second.candidateServing, first.candidateServing);
    const kept = await asAttempt(() => world.real.reapServing({ serving: first.candidateServing }), {
      asked: Date.now(),
    });
    assert.equal(kept, 'kept');
    assert.equal((await world.adapter.observe(first.candidateServing)).state, 'ready');
    // Needed again, its grace begins anew.
    assert.equal((await reap({ grace: 0, dryRun: false })).unneeded, 0);
    await world.releases.end(second.release, 'rolled-back');
    assert.deepEqual((await reap({ grace: 0, dryRun: false })).removed, []);
    assert.equal((await reap({ grace: 0, dryRun: false })).removed.length, 1);
    assert.deepEqual(
      (await listReaped(world.db, 2)).map(({ ending }) => ending),
      ['removed', 'needed'],
    );
  });

  it('counts GPU hours from the first sight, by the server clock, and a repeated attempt is no second sight', async () => {
    const serving = await orphan('hours');
    const seen = async (at: number): Promise<[number, boolean]> => {
      const [unneeded] = await inspect(at, HOUR);
      return [unneeded?.gpuHours ?? Number.NaN, unneeded?.due ?? false];
    };
    assert.deepEqual(await seen(ASKED_AT), [0, false]);
    assert.deepEqual(await seen(ASKED_AT), [0, false]);
    assert.deepEqual(await seen(ASKED_AT + HOUR / 2), [1, false]);
    assert.deepEqual(await seen(ASKED_AT + HOUR), [2, true]);
    assert.deepEqual(await seen(ASKED_AT + 36 * HOUR), [72, true]);
    // What disappears by another hand is told too.
    await world.adapter.remove(serving.digest);
    assert.deepEqual(await inspect(ASKED_AT + 37 * HOUR, HOUR), []);
    const gone = (await listReaped(world.db, 100)).find((row) => row.serving === serving.digest);
    assert.deepEqual([gone?.ending, gone?.endedAt?.getTime()], ['gone', ASKED_AT + 37 * HOUR]);
  });

  /** The reaper's look where the adapter says something else of what it lists. */
  const inspectWhere = (change: (seen: ServingObservation) => ServingObservation): Promise<Unneeded[]> => {
    const list = async () => (await world.adapter.list()).map(change);
    const deps = { db: world.db, adapter: { ...world.adapter, list }, log: silentLog };
    const { inspectServings } = createReapingActivities(deps);
    return asAttempt(() => inspectServings({ grace: 0, dryRun: true }), { asked: Date.now() });
  };

  it('leaves alone what does not carry a name of its own', async () => {
    const serving = await orphan('somebody-elses');
    assert.equal((await inspectWhere((seen) => seen)).length, 1);
    assert.deepEqual(await inspectWhere((seen) => ({ ...seen, name: `not-${seen.name}` })), []);
    await world.adapter.remove(serving.digest);
  });

  it('knows a needed serving by its short digest too, when its objects have lost the whole one', async () => {
    const short = (seen: ServingObservation) => ({ ...seen, digest: `sha256:${shortDigest(seen.digest)}` });
    const plan = await world.releases.register({ application: 'short' });
    await world.provide(plan.release, plan.candidateServing);
    assert.deepEqual(await inspectWhere(short), []);
    await world.releases.end(plan.release, 'rolled-back');
    assert.deepEqual(
      (await inspectWhere(short)).map(({ serving }) => serving),
      [plan.candidateServing],
    );
    await world.adapter.remove(plan.candidateServing);
    await publishEndpoints(world.db, plan.candidateServing, []);
  });

  it('waits out a gateway that has vanished and may still route by an older table', async () => {
    const serving = await orphan('vanished');
    await reap({ grace: 0, dryRun: true });
    await world.db.query(
      `insert into gateways (id, renewed_at, acknowledged, oldest_in_flight) values ('vanished', now() - interval '6 s', $1, $1)`,
      [(await readGeneration(world.db)) - 1],
    );
    const { handle, waiting } = await begin({ grace: 0, dryRun: false });
    const [message] = await until('the reaper waits', waiting, ({ length }) => length > 0);
    assert.match(message ?? '', /waiting until silent gateways serve the stable arm only: vanished/);
    assert.equal(await stateOf(serving), 'ready');
    await dropLease(world.db, 'vanished');
    assert.equal((await handle.result()).removed.length, 1);
    assert.equal(await stateOf(serving), 'absent');
  });

  it('does not let one that still answers requests keep the others', async () => {
    const [busy, free] = [await orphan('busy', { 'in-flight': 3 }), await orphan('free')];
    await reap({ grace: 0, dryRun: true });
    const { handle, waiting } = await begin({ grace: 0, dryRun: false });
    await until(
      'the free one is gone',
      () => stateOf(free),
      (state) => state === 'absent',
    );
    await until('the busy one waits', waiting, ([message]) => message === 'waiting for 6 requests in flight');
    assert.equal(await stateOf(busy), 'ready');
    await handle.terminate();
    await world.adapter.remove(busy.digest);
  });
});
