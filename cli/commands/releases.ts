import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline/promises';
import type { Command } from 'commander';
import { SlipwayError } from '../../domain/errors.ts';
import type { ApiClient } from '../client.ts';
import { UsageError } from '../exit.ts';
import { releaseRequest } from '../files.ts';
import type { Output } from '../output.ts';
import { showRelease, showReleases, showStoryLine } from '../show.ts';
import type { Explanation, Release, StoryLine } from '../types.ts';
import { watch } from '../watch.ts';
import { type CommandContext, run } from './context.ts';
import { describePush } from './documents.ts';

const pathOf = (id: string, verb = ''): string =>
  `/v1/releases/${encodeURIComponent(id)}${verb && `/${verb}`}`;

/** `slipway release …` */
export function addReleaseCommands(program: Command): void {
  const release = program.command('release').description('start, follow and decide releases');

  release
    .command('create')
    .description('push the files that a release file names, and start the release')
    .requiredOption('-f, --file <file>', 'release file in YAML')
    .option('--key <key>', 'idempotency key: the same key is the same release')
    .option('-w, --watch', 'follow it until it has ended')
    .action(run(create));

  release
    .command('list')
    .description('releases, the newest first')
    .option('--application <name>', 'of one application')
    .action(
      run(async ({ api, output }, { application }: { application?: string }) => {
        const query = application === undefined ? '' : `?application=${encodeURIComponent(application)}`;
        const { releases } = await api.call<{ releases: Release[] }>('GET', `/v1/releases${query}`);
        const now = await Promise.all(
          releases.map((one) => (one.endedAt === null ? asOfNow(api, one) : one)),
        );
        output.result(now, () => showReleases(output, now));
      }),
    );

  release
    .command('get <release>')
    .description('what it is doing now')
    .action(
      run(async ({ api, output }, id: string) => {
        const found = await api.call<Release>('GET', pathOf(id));
        output.result(found, () => showRelease(output, found));
      }),
    );

  release
    .command('watch <release>')
    .description('follow it until it has ended; ends 0 when it is promoted')
    .action(
      run(async ({ api, output }, id: string) => {
        process.exitCode = await watch(api, output, id);
      }),
    );

  release
    .command('explain <release>')
    .description('what happened and why')
    .action(
      run(async ({ api, output }, id: string) => {
        const explanation = await api.call<Explanation>('GET', pathOf(id, 'explain'));
        output.result(explanation, () => {
          showRelease(output, explanation.release);
          output.line();
          for (const line of explanation.story) showStoryLine(output, line);
        });
      }),
    );

  release
    .command('approve <release>')
    .description('sign off what its evidence says')
    .option('--evidence <digest>', 'digest of the evidence that you have read; 12 hex digits are enough')
    .option('--reason <text>', 'kept in the history')
    .action(run(approve));

  for (const [name, description] of [
    ['reject', 'refuse to sign off: it is rolled back'],
    ['pause', 'hold it where it is; guards keep watching'],
    ['resume', 'let it go on'],
    ['abort', 'stop it in any stage: everybody back on the stable revision'],
  ] as const) {
    release
      .command(`${name} <release>`)
      .description(description)
      .option('--reason <text>', 'kept in the history')
      .action(
        run(async ({ api, output }, id: string, { reason }: { reason?: string }) => {
          const answer = await api.call<Partial<Release>>('POST', pathOf(id, name), { reason });
          output.result(answer, () =>
            output.line(`${name}: taken${answer.stage ? `, ${id} is in stage ${answer.stage}` : ''}`),
          );
        }),
      );
  }
}

/** The list is what activities have mirrored; of a pause, or of a sign-off that was just given, only the workflow knows. */
async function asOfNow(api: ApiClient, listed: Release): Promise<Release> {
  try {
    const { stage, phase, reason, endedAt } = await api.call<Release>('GET', pathOf(listed.release));
    return { ...listed, stage, phase, reason, endedAt };
  } catch (error) {
    // Without Temporal the list is what there is.
    if (error instanceof SlipwayError && error.code === 'DEPENDENCY_UNAVAILABLE') return listed;
    throw error;
  }
}

async function create(
  { api, output }: CommandContext,
  { file, key, watch: follow }: { file: string; key?: string; watch?: boolean },
): Promise<void> {
  const pushed: string[] = [];
  const start = async () => {
    const request = await releaseRequest(api, file, (kind, version) => {
      if (version.created) pushed.push(`${kind} ${version.name}@${version.version}`);
      output.line(describePush(kind, version));
    });
    return api.call<{ release: string; created: boolean; registered: boolean }>(
      'POST',
      '/v1/releases',
      request,
      { 'idempotency-key': key ?? randomUUID() },
    );
  };
  const started = await start().catch((error: unknown) => {
    throw tellingWhatStays(error, pushed);
  });
  const { release, created, registered } = started;
  if (output.json && follow) output.event({ event: 'started', data: started });
  else output.result(started, () => {});
  output.line(`release ${release} ${created ? 'started' : 'was started before'}`);
  if (!registered) output.line('no worker has taken it yet; it begins when one does');
  if (follow) process.exitCode = await watch(api, output, release, true);
  else output.line(`follow it: slipway release watch ${release}`);
}

/** What only the API could refuse leaves the versions behind that were pushed for it. */
function tellingWhatStays(error: unknown, pushed: readonly string[]): unknown {
  if (!(error instanceof SlipwayError) || pushed.length === 0) return error;
  const { code, message, details } = error;
  const stays = `Pushed before that, and kept: ${pushed.join(', ')}; pushing the same content again makes no new version`;
  const remedy = [details.remedy, stays].filter(Boolean).join('. ');
  return new SlipwayError(code, message, { ...details, remedy }, { cause: error });
}

/** The digest of no evidence. Signing it is always refused, by who may not sign and what has ended before it is by the evidence. */
const NONE = `sha256:${'0'.repeat(64)}`;

/** A sign-off names what was read (invariant 7): the digest is given, or the evidence is shown and confirmed here and now. */
async function approve(
  { api, output }: CommandContext,
  id: string,
  { evidence, reason }: { evidence?: string; reason?: string },
): Promise<void> {
  if (evidence === undefined && (output.json || !process.stdin.isTTY)) {
    throw new UsageError(
      'give --evidence with the digest that you have read: slipway release explain shows it',
    );
  }
  const { release, story } = await api.call<Explanation>('GET', pathOf(id, 'explain'));
  const sign = (digest: string | null) =>
    api.call<Release>('POST', pathOf(id, 'approve'), {
      revision: release.candidate ?? NONE,
      evidence: digest ?? NONE,
      reason,
    });
  const stands = release.evidence;
  if (evidence === undefined || !names(evidence, stands)) {
    await sign(NONE).catch((error: unknown) => {
      if (!(error instanceof SlipwayError) || error.code !== 'SIGN_OFF_STALE') throw error;
    });
    if (evidence !== undefined) throw stale(id, evidence, stands);
    await confirm(output, release, story);
  }
  const status = await sign(stands);
  output.result(status, () => output.line(`signed off, ${id} is in stage ${status.stage}`));
}

async function confirm(output: Output, release: Release, story: readonly StoryLine[]): Promise<void> {
  showRelease(output, release);
  for (const line of story.slice(-5)) showStoryLine(output, line);
  const prompt = createInterface({ input: process.stdin, output: process.stdout });
  const answer = await prompt.question(`Sign off ${release.release} on this evidence? Type yes: `);
  prompt.close();
  if (answer.trim() !== 'yes') throw new UsageError('not signed off');
}

function stale(id: string, evidence: string, stands: string | null): SlipwayError {
  return new SlipwayError('SIGN_OFF_STALE', `${id} stands at the evidence ${stands ?? '(none yet)'}`, {
    field: 'evidence',
    value: evidence,
    remedy: `Read it again: slipway release explain ${id}`,
  });
}

/** A whole digest, or at least 12 of its hex digits from the first on. */
function names(given: string, digest: string | null): boolean {
  const hex = given.replace(/^sha256:/, '');
  return hex.length >= 12 && digest !== null && digest.replace(/^sha256:/, '').startsWith(hex);
}
