import { setTimeout as delay } from 'node:timers/promises';
import { type ApiClient, UnreachableError } from './client.ts';
import { EXIT } from './exit.ts';
import type { Output } from './output.ts';
import { pendingText, showStoryLine } from './show.ts';
import type { Pending, Release, StoryLine } from './types.ts';

/** After the stream broke off, how often and how long to try again. */
const RECONNECT_MS = 1_000;
const GIVE_UP_MS = 60_000;

/**
 * Follows a release until it has ended, over restarts of the API.
 * @returns the exit code: 0 when it ended promoted
 * @throws UnreachableError when the API stays away for a minute, or is not there from the start
 */
export async function watch(api: ApiClient, output: Output, id: string): Promise<number> {
  let last: string | undefined;
  let heard = false;
  let silentSince = performance.now();
  let waits = '';
  for (;;) {
    try {
      for await (const { event, id: eventId, data } of api.events(
        `/v1/releases/${encodeURIComponent(id)}/watch`,
        last,
      )) {
        heard = true;
        silentSince = performance.now();
        last = eventId || last;
        output.event({ event, data });
        if (event === 'story') showStoryLine(output, data as StoryLine);
        if (event === 'pending') waits = showPending(output, data as Pending[], waits);
        if (event === 'end') return showEnd(output, data as Release);
      }
    } catch (error) {
      const lasting = performance.now() - silentSince > GIVE_UP_MS;
      if (!(error instanceof UnreachableError) || !heard || lasting) throw error;
    }
    await delay(RECONNECT_MS);
  }
}

/** On a terminal one line that changes in place; elsewhere a line whenever it says something new. @returns what it said */
function showPending(output: Output, pending: Pending[], before: string): string {
  const text = pending.map(pendingText).join('; ');
  if (output.live) output.passing(`  ${text}`);
  else if (text !== '' && text !== before) output.line(`  ${text}`);
  return text;
}

function showEnd(output: Output, { release, stage, reason }: Release): number {
  if (stage === 'done') {
    output.line(output.style('green', `${release} is promoted`));
    return EXIT.ok;
  }
  output.line(output.style('red', `${release} ended ${stage}${reason === null ? '' : `: ${reason}`}`));
  return EXIT.refused;
}
