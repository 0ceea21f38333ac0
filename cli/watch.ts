import { setTimeout as delay } from 'node:timers/promises';
import { SlipwayError } from '../domain/errors.ts';
import { type ApiClient, UnreachableError } from './client.ts';
import { EXIT } from './exit.ts';
import type { Output } from './output.ts';
import { pendingText, showStoryLine } from './show.ts';
import type { Pending, Release, StoryLine } from './types.ts';

/** After the stream broke off, how often and how long to try again, in ms. */
const RECONNECT_MS = 1_000;
const GIVE_UP_MS = 60_000;

/**
 * Follows a release until it has ended, over restarts of the API and of what the API needs.
 * @param heard the API has answered already, so that it is waited for from the start
 * @returns the exit code: 0 when it ended promoted
 * @throws UnreachableError, SlipwayError DEPENDENCY_UNAVAILABLE when they stay away for a minute, or nothing was ever heard
 */
export async function watch(api: ApiClient, output: Output, id: string, heard = false): Promise<number> {
  let last: string | undefined;
  let silentSince = performance.now();
  let waits = '';
  for (;;) {
    try {
      for await (const { event, id: eventId, data } of api.events(
        `/v1/releases/${encodeURIComponent(id)}/watch`,
        last,
      )) {
        heard = true;
        last = eventId || last;
        output.event({ event, data });
        if (event === 'story') showStoryLine(output, data as StoryLine);
        if (event === 'pending') waits = showPending(output, data as Pending[], waits);
        if (event === 'end') return showEnd(output, data as Release);
      }
      // It was there until now, however long it had nothing to tell.
      silentSince = performance.now();
    } catch (error) {
      const lasting = performance.now() - silentSince > GIVE_UP_MS;
      if (!isAway(error) || !heard || lasting) throw error;
    }
    await delay(RECONNECT_MS);
  }
}

function isAway(error: unknown): boolean {
  if (error instanceof SlipwayError) return error.code === 'DEPENDENCY_UNAVAILABLE';
  return error instanceof UnreachableError;
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
