import { cut, facts, type Output, table } from './output.ts';
import type { Pending, Release, StoryLine } from './types.ts';

const percent = (share: number): string => `${Number((share * 100).toFixed(2))} %`;

/** A release as a column of facts. */
export function showRelease(output: Output, release: Release): void {
  const { weight, horizon, samples } = release;
  const arm = (name: 'stable' | 'canary') =>
    samples && `${samples[name].samples} samples of ${samples[name].users} users on ${name}`;
  const entries: [string, string | null][] = [
    ['release', release.release],
    ['application', release.application],
    ['stage', `${release.stage} (${phase(output, release.phase)})`],
    ['reason', release.reason],
    ['weight', weight && `${percent(weight.desired)} asked, ${percent(weight.observed)} observed`],
    ['samples', samples && `${arm('stable')}, ${arm('canary')}`],
    ['verdict', release.verdict],
    ['evidence', release.evidence],
    ['candidate', release.candidate],
    ['stable', release.stable],
    ['horizon', horizon && `${horizon.index + 1}, at ${horizon.at}`],
    ['requester', release.requester],
    ['started', release.startedAt],
    ['canary since', release.canarySince],
    ['ended', release.endedAt],
    ...release.pending.map((pending): [string, string] => ['waiting', pendingText(pending)]),
    ...(release.stage === 'sign-off' ? [signOffLine(release)] : []),
    ['source', release.live ? null : 'the store: no worker answered'],
  ];
  for (const line of facts(entries)) output.line(line);
}

/** What a person is asked for: the evidence to read, and the words to sign it with. */
function signOffLine({ release, evidence }: Release): [string, string] {
  const digest = evidence?.replace('sha256:', '').slice(0, 12) ?? 'DIGEST';
  return ['waiting', `a sign-off: slipway release approve ${release} --evidence ${digest}`];
}

/** A line a release; a reason is cut to the terminal's width, the whole is in `release get`. */
export function showReleases(output: Output, releases: Release[]): void {
  const rows = releases.map((release) => [
    release.release,
    release.stage,
    release.phase,
    release.requester,
    release.startedAt,
    firstLine(release.reason ?? '', output.width === null),
  ]);
  const header = ['RELEASE', 'STAGE', 'PHASE', 'REQUESTER', 'STARTED', 'REASON'];
  for (const line of table(header, rows, output.width ?? undefined)) output.line(line);
}

function firstLine(text: string, short: boolean): string {
  const [line = ''] = text.split('\n');
  return short ? cut(line) : line;
}

export function showStoryLine(output: Output, { at, stage, text }: StoryLine): void {
  const time = output.style('dim', at.slice(0, 19).replace('T', ' '));
  output.line(`${time}  ${output.style('cyan', stage.padEnd(12))}  ${text}`);
}

/** What the release waits for, in one line; empty when it waits for nothing. */
export function pendingText({ activity, attempt, message, code, progress }: Pending): string {
  const said = typeof progress === 'string' ? progress : message;
  const trouble = message !== null && code !== 'NOT_YET' ? ` (attempt ${attempt})` : '';
  return `${activity}${said ? `: ${said}` : ''}${trouble}`;
}

function phase(output: Output, name: string): string {
  if (name === 'Healthy') return output.style('green', name);
  if (name === 'Degraded') return output.style('red', name);
  return name === 'Paused' ? output.style('yellow', name) : name;
}
