import { metricMeter } from '@temporalio/activity';
import type { Logger } from 'pino';
import type { ServingAdapter, ServingObservation } from '../adapters/serving/adapter.ts';
import { gpuHours, isDue } from '../domain/serving/reaping.ts';
import { servingName } from '../domain/serving/serving.ts';
import type { Database } from '../store/database.ts';
import {
  endUnneeded,
  listUnneeded,
  recordReaperRun,
  recordUnneeded,
  type UnneededServing,
  wholeDigest,
} from '../store/reaping.ts';
import { appendEvent } from '../store/releases.ts';
import { findServing, usesOfServing } from '../store/servings.ts';
import { removeUnneeded } from './serving.ts';
import { askedAt, finalErrors, now } from './watch.ts';

export interface ReapingDeps {
  db: Database;
  adapter: ServingAdapter;
  log: Logger;
}

/** As many as fit into one event of the reaper; the store has them all. */
const MOST = 200;

/** A serving that nobody needs, for the reaper's history. */
export interface Unneeded {
  /** Digest. */
  serving: string;
  name: string;
  gpus: number;
  /** Wasted so far. */
  gpuHours: number;
  /** Its grace is over. */
  due: boolean;
}

export interface ReapingActivities {
  /** Looks at every serving that exists, and records which of them no route and no active release needs; the longest unneeded first. */
  inspectServings(input: { grace: number; dryRun: boolean }): Promise<Unneeded[]>;
  /** Waits until no gateway routes to the serving, then removes it. One that is needed after all stays. */
  reapServing(input: { serving: string }): Promise<'removed' | 'kept'>;
}

export function createReapingActivities({ db, adapter, log }: ReapingDeps): ReapingActivities {
  return {
    async inspectServings({ grace, dryRun }) {
      // The same for every attempt: a repeated one is not a second sight.
      const at = new Date(askedAt());
      const existing = await listWhole(db, adapter);
      const found = [];
      for (const seen of existing) {
        const described = await describeUnneeded(db, seen);
        if (described !== null) found.push(described);
      }
      const before = await listUnneeded(db);
      const recorded = await recordUnneeded(
        db,
        found,
        existing.map(({ digest }) => digest),
        at,
      );
      await recordReaperRun(db, { at, dryRun, grace });
      countWaste(before, recorded);
      const unneeded: Unneeded[] = [];
      for (const row of recorded) {
        const { serving, name, gpus, since } = row;
        const hours = gpuHours(gpus, since.getTime(), at.getTime());
        const due = isDue(since.getTime(), at.getTime(), grace);
        const { release, application, known } = row;
        log.warn(
          { serving: name, release, application, known, gpus, gpuHours: hours, since, due, dryRun },
          'a serving that nobody needs holds GPUs',
        );
        await tell(db, row, 'unneeded', at, { gpus });
        unneeded.push({ serving, name, gpus, gpuHours: hours, due });
      }
      return unneeded.slice(0, MOST);
    },

    reapServing: ({ serving }) =>
      finalErrors(async () => {
        const row = (await listUnneeded(db)).find((open) => open.serving === serving);
        if (row === undefined) return 'kept';
        const { usedBy } = await removeUnneeded({ db, adapter }, serving, null);
        const at = new Date(now());
        await endUnneeded(db, serving, usedBy.length > 0 ? 'needed' : 'removed', at);
        if (usedBy.length > 0) {
          log.info({ serving: row.name, usedBy }, 'a serving is needed again: kept');
          return 'kept';
        }
        const hours = gpuHours(row.gpus, row.since.getTime(), at.getTime());
        await tell(db, row, 'reaped', at, { gpus: row.gpus, gpuHours: hours });
        log.warn(
          { serving: row.name, release: row.release, gpus: row.gpus, gpuHours: hours },
          'serving reaped',
        );
        return 'removed';
      }),
  };
}

/** An object may have lost all but its short digest; whether it is needed is asked by the whole one. */
async function listWhole(db: Database, adapter: ServingAdapter): Promise<ServingObservation[]> {
  const listed: ServingObservation[] = [];
  for (const seen of await adapter.list()) {
    listed.push({ ...seen, digest: await wholeDigest(db, seen.digest) });
  }
  return listed;
}

/** null: somebody needs it, or it does not carry the name that Slipway gives, and so is none of its business. */
async function describeUnneeded(db: Database, { digest, name, gpus }: ServingObservation) {
  if (name !== servingName(digest)) return null;
  const { applications, releases } = await usesOfServing(db, digest, null);
  if (applications.length > 0 || releases.length > 0) return null;
  const row = await findServing(db, digest);
  return {
    serving: digest,
    name,
    known: row !== null,
    application: row?.origin?.application ?? null,
    release: row?.origin?.release ?? null,
    gpus,
  };
}

/** GPU seconds since the last look, so that the sum over workers counts each once. */
function countWaste(before: readonly UnneededServing[], after: readonly UnneededServing[]): void {
  const seen = new Map(before.map(({ serving, seenAt }) => [serving, seenAt.getTime()]));
  const seconds = after.reduce(
    (sum, { serving, gpus, seenAt }) =>
      sum + 3_600 * gpuHours(gpus, seen.get(serving) ?? seenAt.getTime(), seenAt.getTime()),
    0,
  );
  const counter = metricMeter.createCounter(
    'slipway_unneeded_gpu_seconds',
    's',
    'GPU seconds held by servings that no route and no release needs',
  );
  counter.add(Math.round(seconds));
}

/** Into the audit of the release that first asked for it, once for each time without need. */
async function tell(
  db: Database,
  { release, serving, name, since }: UnneededServing,
  kind: 'unneeded' | 'reaped',
  at: Date,
  figures: Record<string, number>,
): Promise<void> {
  if (release === null) return;
  await appendEvent(db, {
    release,
    name: `${kind}:${name}:${since.toISOString()}`,
    at,
    actor: 'reaper',
    kind,
    details: { serving, since: since.toISOString(), ...figures },
  });
}
