import type { Database } from '../store/database.ts';
import { appendEvent, recordProgress } from '../store/releases.ts';
import type { ReleaseActivities, Step } from './contract.ts';
import { now } from './watch.ts';

/**
 * Mirrors the release's stage into its row and its audit whenever one of its activities begins: a stage change needs no activity, and so
 * no events, of its own. Late and repeated ones change nothing.
 */
export function mirroringProgress(db: Database, activities: ReleaseActivities): ReleaseActivities {
  const mirrored = Object.entries(activities).map(([name, activity]) => [
    name,
    async (step: Step) => {
      await mirror(db, step);
      return (activity as (step: Step) => Promise<unknown>)(step);
    },
  ]);
  return Object.fromEntries(mirrored) as ReleaseActivities;
}

async function mirror(db: Database, { progress }: Step): Promise<void> {
  await recordProgress(db, progress.release, progress);
  await appendEvent(db, {
    release: progress.release,
    name: `progress:${progress.sequence}`,
    at: new Date(now()),
    actor: 'slipway',
    kind: 'progress',
    details: { stage: progress.stage, phase: progress.phase, reason: progress.reason, text: progress.story },
  });
}
