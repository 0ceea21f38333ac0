import { setTimeout as delay } from 'node:timers/promises';
import { canonicalJson } from '../../domain/digest.ts';
import type { StoryLine } from '../../domain/release/story.ts';
import type { ApiContext } from '../context.ts';
import { type PendingActivity, pendingOf, type ReleaseView, sourcesOf, storyOf, viewOf } from './read.ts';

/** Time between two looks at the release. */
const LOOK_MS = 500;

export type WatchEvent =
  | { event: 'story'; id: string; data: StoryLine }
  | { event: 'release'; data: ReleaseView }
  | { event: 'pending'; data: PendingActivity[] }
  | { event: 'end'; data: ReleaseView };

/**
 * What happens to a release, as it happens, until it ends or the signal aborts. Story lines are numbered: a watcher that comes back
 * says the last number that it saw. Yields nothing twice in a row.
 * A look asks Temporal for the size of the history and asks the workflow itself only when that has grown.
 * @throws SlipwayError RELEASE_NOT_FOUND, before the first event
 */
export async function* watchRelease(
  context: ApiContext,
  id: string,
  told: number,
  signal: AbortSignal,
): AsyncGenerator<WatchEvent> {
  let seen = '';
  let release = '';
  let pending = canonicalJson([]);
  let lines = told;
  while (!signal.aborted) {
    const sources = await sourcesOf(context, id);
    const { description, row } = sources;
    const size = canonicalJson([
      description?.historyLength,
      description?.status.name,
      row?.stage,
      row?.endedAt,
    ]);
    if (size !== seen) {
      const view = await viewOf(context, sources);
      for (const line of (await storyOf(context, sources))?.slice(lines) ?? []) {
        lines += 1;
        yield { event: 'story', id: String(lines), data: line };
      }
      const text = JSON.stringify({ ...view, pending: [] });
      if (text !== release) yield { event: 'release', data: view };
      release = text;
      // Asked again at the next look when the workflow itself was silent.
      seen = view.live || description === null ? size : '';
      // Its workflow may still remove what nobody needs any more.
      if (view.endedAt !== null) {
        yield { event: 'end', data: view };
        return;
      }
    }
    const now = description === null ? [] : pendingOf(description);
    const text = canonicalJson(JSON.parse(JSON.stringify(now)));
    if (text !== pending) yield { event: 'pending', data: now };
    pending = text;
    await delay(LOOK_MS, undefined, { signal }).catch(() => {});
  }
}
