import type { Database } from '../store/database.ts';
import { appendEvent, recordProgress } from '../store/releases.ts';
import type { ReleaseActivities, Step } from './contract.ts';

/**
 * Mirrors the release's stage into its row and its story into its audit whenever one of its activities begins: a stage change needs no
 * activity, and so no events, of its own. Late and repeated ones change nothing. The last activity ends the release: its story is whole then.
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
  const { release, sequence, phase, reason, story } = progress;
  for (const [index, { at, stage, text }] of story.entries()) {
    await appendEvent(db, {
      release,
      name: `progress:${sequence - story.length + 1 + index}`,
      at: new Date(at),
      actor: 'slipway',
      kind: 'progress',
      details: { stage, phase, reason, text },
    });
  }
}
