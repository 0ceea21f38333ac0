import { counted } from '../domain/counted.ts';
import { cut, facts, type Output, table } from './output.ts';
import type { Pending, Release, StoryLine } from './types.ts';
import { activityWords } from './words.ts';

const percent = (share: number): string => `${Number((share * 100).toFixed(2))} %`;

/** A release as a column of facts. */
export function showRelease(output: Output, release: Release): void {
  const { weight, horizon, samples } = release;
  const arm = (name: 'stable' | 'canary') =>
    samples &&
    `${counted(samples[name].samples, 'sample')} of ${counted(samples[name].users, 'user')} on ${name}`;
  // The two arms are no more: there is no weight, and what was the candidate is the stable revision.
  const promoted = release.stage === 'done';
  const becoming = release.endedAt === null ? 'becomes' : 'became';
  const entries: [string, string | null][] = [
    ['release', release.release],
    ['application', release.application],
    ['stage', `${release.stage} (${phase(output, release.phase)})`],
    ['reason', release.reason],
    [
      'weight',
      promoted ? null : weight && `${percent(weight.desired)} asked, ${percent(weight.observed)} observed`,
    ],
    ['samples', samples && `${arm('stable')}, ${arm('canary')}`],
    ['verdict', release.verdict],
    ['evidence', release.evidence],
    ...(promoted
      ? ([
          ['promoted', release.candidate && `${release.candidate}: ${becoming} the stable revision`],
          ['replaced', release.stable ?? 'nothing: it is the first revision of the application'],
        ] satisfies [string, string | null][])
      : ([
          ['candidate', release.candidate],
          ['stable', release.stable],
        ] satisfies [string, string | null][])),
    ['horizon', horizon && `${horizon.index + 1}, at ${horizon.at}`],
    ['requester', release.requester],
    ['started', release.startedAt],
    ['canary since', release.canarySince],
    ['ended', release.endedAt],
    ...release.pending.map((pending): [string, string] => ['waiting', pendingText(pending)]),
    ...askedOfPeople(release),
    ['source', release.live ? null : 'the store: no worker answered'],
  ];
  for (const line of facts(entries)) output.line(line);
}

/** What a person is asked for: to let a paused release go on, or the evidence to read and the words to sign it with. */
function askedOfPeople({ release, stage, phase, reason, evidence }: Release): [string, string][] {
  // One that waits for a sign-off only is `Paused` too, and has no reason.
  if (phase === 'Paused' && reason !== null)
    return [['waiting', `to go on: slipway release resume ${release}`]];
  if (stage !== 'sign-off') return [];
  const digest = evidence?.replace('sha256:', '').slice(0, 12) ?? 'DIGEST';
  return [['waiting', `a sign-off: slipway release approve ${release} --evidence ${digest}`]];
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

/** Further lines of its text begin under the first. */
export function showStoryLine(output: Output, { at, stage, text }: StoryLine): void {
  const time = at.slice(0, 19).replace('T', ' ');
  const label = stage.padEnd(12);
  const below = `\n${' '.repeat(time.length + 2 + label.length + 2)}`;
  output.line(
    `${output.style('dim', time)}  ${output.style('cyan', label)}  ${text.replaceAll('\n', below)}`,
  );
}

/** What a release waits for. */
export function pendingText(pending: Pending): string {
  const { activity, attempt, message, code } = pending;
  const said = saidBy(pending);
  const trouble = message !== null && code !== 'NOT_YET' ? ` (attempt ${attempt})` : '';
  return `${activityWords[activity] ?? activity}${said === null ? '' : `: ${said}`}${trouble}`;
}

/** How far it is, or why it is not done yet; null while it has said nothing. */
export function saidBy({ message, progress }: Pending): string | null {
  return (typeof progress === 'string' ? progress : message) || null;
}

function phase(output: Output, name: string): string {
  if (name === 'Healthy') return output.style('green', name);
  if (name === 'Degraded') return output.style('red', name);
  return name === 'Paused' ? output.style('yellow', name) : name;
}
