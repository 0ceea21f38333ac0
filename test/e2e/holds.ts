/** What must hold of a release that has ended; each is given to `ends`. */
import assert from 'node:assert/strict';
import { activeRelease, getRelease, listEvents } from '../../store/releases.ts';
import { acknowledgementOf, findRoute } from '../../store/routes.ts';
import { REPLICAS } from './documents.ts';
import type { Running } from './dsl.ts';
import { movesAfter } from './moves.ts';
import { recordedServings, servingProcesses } from './servings.ts';
import { APPLICATION } from './world.ts';

/** Traffic moved once per step: the weights in their order, then the route without a release. */
export const trafficMoved =
  (...weights: number[]) =>
  async ({ world, id, before }: Running): Promise<void> => {
    const moves = await movesAfter(world.db, before.moves);
    assert.deepEqual(
      moves.map(({ release, weight }) => [release, weight]),
      [...weights.map((weight) => [id, weight]), ...(weights.length === 0 ? [] : [[null, 0]])],
    );
  };

/** One set of processes serves, each on record, and nothing else was left anywhere. */
export async function oneServingRuns({ world }: Running): Promise<void> {
  const running = servingProcesses(world);
  assert.equal(running.length, REPLICAS, JSON.stringify(running));
  const recorded = recordedServings(world);
  assert.equal(Object.keys(recorded).length, 1, `servings on record: ${Object.keys(recorded)}`);
  assert.deepEqual(
    Object.values(recorded)
      .flat()
      .map(({ pid, replica }) => ({ pid, replica })),
    running,
  );
}

/** Not one process of before is left: the old serving went, and a new one came. */
export async function servingWasReplaced(release: Running): Promise<void> {
  await oneServingRuns(release);
  const old = new Set(release.before.processes.map(({ pid }) => pid));
  assert.deepEqual(
    servingProcesses(release.world).filter(({ pid }) => old.has(pid)),
    [],
  );
}

/** The very processes of before serve on. */
export async function servingIsAsBefore(release: Running): Promise<void> {
  await oneServingRuns(release);
  assert.deepEqual(servingProcesses(release.world), release.before.processes);
}

/** The candidate is what everybody gets; in every gateway that lives. */
export async function candidateServes({ world, id }: Running): Promise<void> {
  const [route, row] = [await findRoute(world.db, APPLICATION), await getRelease(world.db, id)];
  assert.deepEqual([route?.stable, route?.release, route?.canary], [row.candidate, null, null]);
  assert.deepEqual((await acknowledgementOf(world.db, route?.generation ?? -1)).lagging, []);
}

/** Everybody is on the revision of before, in every gateway that lives. */
export async function stableServes({ world, id }: Running): Promise<void> {
  const [route, row] = [await findRoute(world.db, APPLICATION), await getRelease(world.db, id)];
  assert.deepEqual(
    [route?.stable, route?.release, route?.canary, route?.weight],
    [row.stable, null, null, 0],
  );
  const { live, lagging } = await acknowledgementOf(world.db, route?.generation ?? -1);
  assert.ok(live > 0);
  assert.deepEqual(lagging, []);
}

export async function applicationIsFree({ world }: Running): Promise<void> {
  assert.equal(await activeRelease(world.db, APPLICATION), null);
}

/** Every event has one name, every stage was entered once (the gate may speak several times), and the approvers were asked once. */
export async function toldOnce(release: Running): Promise<void> {
  const events = await listEvents(release.world.db, release.id);
  assert.equal(new Set(events.map(({ name }) => name)).size, events.length);
  for (const kind of ['notice', 'preflight', 'ended']) {
    assert.equal(events.filter((event) => event.kind === kind).length, 1, kind);
  }
  const stages = (await release.story())
    .map(({ stage }) => stage)
    .filter((stage, index, all) => stage !== all[index - 1])
    .join(' ')
    .replace(/(canary deciding ?)+/, 'canary deciding ');
  assert.match(
    stages,
    /^registering preflight (evaluating provisioning|provisioning evaluating) canary deciding sign-off promoting baking done$/,
  );
}
