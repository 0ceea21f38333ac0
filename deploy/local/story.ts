import type { ApiClient } from '../../cli/client.ts';
import { formatDuration } from '../../domain/duration.ts';
import { stages } from '../../domain/words.ts';
import type { Say } from './tools/build.ts';

/** What the story needs of a release as the API shows it. */
export interface ToldRelease {
  release: string;
  stage: string;
  phase: string;
  reason: string | null;
  candidate: string | null;
  evidence: string | null;
  verdict: string | null;
  weight: { desired: number; observed: number } | null;
  endedAt: string | null;
}

interface ToldLine {
  at: string;
  stage: string;
  text: string;
}

interface ToldPending {
  activity: string;
  message: string | null;
  progress: unknown;
}

const WIDEST = Math.max(...stages.map((stage) => stage.length));

/** Progress of a long step is told at most so often, in ms. */
const PROGRESS_EVERY_MS = 5_000;

/**
 * Follows a release over the API until it has ended, and tells it line by line: the story, the weights asked and observed, and what a
 * long step waits for. `onStage` hears of each change of stage.
 */
export async function tellRelease(
  api: ApiClient,
  release: string,
  say: Say,
  onStage: (release: ToldRelease) => Promise<void>,
): Promise<ToldRelease> {
  const started = performance.now();
  let lastId: string | undefined;
  let stage = '';
  let weight = '';
  let progress = { text: '', at: 0 };
  const line = (label: string, text: string) => {
    const elapsed = ((performance.now() - started) / 1000).toFixed(1).padStart(6);
    const [first, ...more] = text.split('\n');
    say(`${elapsed} s  ${label.padEnd(WIDEST)}  ${first}`);
    for (const next of more) say(`${' '.repeat(elapsed.length + 4 + WIDEST)}  ${next}`);
  };
  for (;;) {
    for await (const { event, id, data } of api.events(`/v1/releases/${release}/watch`, lastId)) {
      lastId = id ?? lastId;
      if (event === 'story') {
        const told = data as ToldLine;
        line(told.stage, told.text);
      } else if (event === 'pending') {
        const text = waitingFor(data as ToldPending[]);
        const due = performance.now() - progress.at > PROGRESS_EVERY_MS;
        if (text !== '' && text !== progress.text && due) {
          progress = { text, at: performance.now() };
          line('', `… ${text}`);
        }
      } else if (event === 'release' || event === 'end') {
        const now = data as ToldRelease;
        // Once it is done there is no canary to have a weight.
        const weights =
          now.weight && now.stage !== 'done'
            ? `${now.weight.desired} asked, ${now.weight.observed} observed`
            : weight;
        if (weights !== weight && weight !== '') line('', `weight: ${weights}`);
        weight = weights;
        if (now.stage !== stage) await onStage(now);
        stage = now.stage;
        if (event === 'end') return now;
      }
    }
  }
}

function waitingFor(pending: ToldPending[]): string {
  return pending
    .map(({ message, progress }) => message ?? (typeof progress === 'string' ? progress : ''))
    .filter((text) => text !== '')
    .join('; ');
}

/** `1m12s` from a moment of `performance.now()`. */
export function since(started: number): string {
  return formatDuration(Math.round((performance.now() - started) / 1000) * 1000);
}
