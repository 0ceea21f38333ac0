import { setTimeout as delay } from 'node:timers/promises';
import { SlipwayError } from '../domain/errors.ts';
import { type ApiClient, UnreachableError } from './client.ts';
import { EXIT } from './exit.ts';
import type { Output } from './output.ts';
import { pendingText, saidBy, showStoryLine } from './show.ts';
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
  const story: string[] = [];
  const said = new Map<string, string>();
  for (;;) {
    try {
      for await (const { event, id: eventId, data } of api.events(
        `/v1/releases/${encodeURIComponent(id)}/watch`,
        last,
      )) {
        heard = true;
        last = eventId || last;
        output.event({ event, data });
        if (event === 'story') {
          const line = data as StoryLine;
          story.push(line.text);
          showStoryLine(output, line);
        }
        if (event === 'pending') showPending(output, data as Pending[], said);
        if (event === 'end') return showEnd(output, data as Release, story);
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

/**
 * On a terminal one line that changes in place; elsewhere a line for what says something new. What has only begun is in the story.
 * @param said what each activity said last
 */
function showPending(output: Output, pending: Pending[], said: Map<string, string>): void {
  output.passing(`  ${pending.map(pendingText).join('; ').split('\n', 1)}`);
  if (output.live) return;
  for (const one of pending) {
    const now = saidBy(one);
    if (now === null || now === said.get(one.activity)) continue;
    said.set(one.activity, now);
    output.line(`  ${pendingText(one)}`);
  }
}

/** @param story what was told already: a reason is not told twice */
function showEnd(output: Output, { release, stage, reason }: Release, story: readonly string[]): number {
  if (stage === 'done') {
    output.line(output.style('green', `${release} is promoted`));
    return EXIT.ok;
  }
  const why = reason === null || story.some((text) => text.includes(reason)) ? '' : `: ${reason}`;
  output.line(output.style('red', `${release} ended ${stage}${why}`));
  return EXIT.refused;
}
