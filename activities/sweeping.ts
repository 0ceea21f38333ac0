import type { Logger } from 'pino';
import type { Executions } from '../adapters/temporal/executions.ts';
import {
  endOf,
  SWEEP_NUMBER,
  type SweepPlan,
  sweepPlan,
  type UnfinishedEnd,
  unfinishedEnds,
} from '../domain/release/sweeping.ts';
import type { Database } from '../store/database.ts';
import { type ActiveRelease, activeReleases } from '../store/reaping.ts';
import { appendEvent, fenceMoves, getRelease } from '../store/releases.ts';
import { getRevision } from '../store/revisions.ts';
import { findRoute } from '../store/routes.ts';
import { finalErrors, now } from './watch.ts';

export interface SweepingDeps {
  db: Database;
  executions: Executions;
  log: Logger;
}

/** As many as fit into one event of the sweeper; the rest is found by its next run. */
const MOST = 500;

/** How many workflows are looked at side by side. */
const AT_ONCE = 10;

export interface UnfinishedRelease {
  release: string;
  application: string;
  how: UnfinishedEnd;
}

/** The activities that only the sweeper has; what a sweep does to the world it does with those of the release. */
export interface SweepingActivities {
  /** Active releases whose workflow ended unfinished at least `grace` ms ago, the oldest first. */
  findUnfinished(input: { grace: number }): Promise<UnfinishedRelease[]>;
  /**
   * Fences what the dead workflow's attempts may still want to move, and says what is to be done by where the traffic stands then.
   * @returns null when nothing is: the release has ended, or its workflow runs (again) after all
   */
  beginSweep(input: { release: string; grace: number }): Promise<SweepPlan | null>;
}

export function createSweepingActivities({ db, executions, log }: SweepingDeps): SweepingActivities {
  async function lookAt(release: ActiveRelease, grace: number): Promise<UnfinishedEnd | null> {
    const state = await executions.stateOf(release.workflowId);
    const { lastSign, lookEvery } = release;
    return endOf(state, { lastSign: lastSign.getTime(), lookEvery }, now(), grace);
  }

  return {
    async findUnfinished({ grace }) {
      const active = await activeReleases(db);
      const found: UnfinishedRelease[] = [];
      for (let from = 0; from < active.length && found.length < MOST; from += AT_ONCE) {
        const looks = active.slice(from, from + AT_ONCE).map(async (release) => {
          const how = await lookAt(release, grace);
          return how === null ? [] : [{ release: release.id, application: release.application, how }];
        });
        found.push(...(await Promise.all(looks)).flat());
      }
      return found.slice(0, MOST);
    },

    beginSweep: ({ release: id, grace }) =>
      finalErrors(async () => {
        const active = (await activeReleases(db)).find((release) => release.id === id);
        const how = active === undefined ? null : await lookAt(active, grace);
        if (how === null) return null;
        await fenceMoves(db, id, SWEEP_NUMBER);
        // Only after the fence: what is read now, nobody but the sweep changes.
        const release = await getRelease(db, id);
        const stable = release.stable === null ? null : await getRevision(db, release.stable);
        const candidate = await getRevision(db, release.candidate);
        const plan = sweepPlan(release, how, await findRoute(db, release.application), {
          candidate: candidate.serving,
          stable: stable?.serving ?? null,
        });
        const { application, stage, workflowId } = release;
        await appendEvent(db, {
          release: id,
          name: 'sweep',
          at: new Date(now()),
          actor: 'sweeper',
          kind: 'sweep',
          details: { how, stage, workflowId, outcome: plan.outcome, text: unfinishedEnds[how] },
        });
        log.warn({ release: id, application, stage, how, outcome: plan.outcome }, 'sweeping a release');
        return plan;
      }),
  };
}
