import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ApiClient } from '../../cli/client.ts';
import { releaseRequest } from '../../cli/files.ts';
import { shortDigest } from '../../domain/digest.ts';
import { answersHttp } from './probe.ts';
import type { Supervisor } from './processes.ts';
import type { Slipway } from './slipway.ts';
import type { Stack } from './stack.ts';
import { since, type ToldRelease, tellRelease } from './story.ts';
import type { Say } from './tools/build.ts';

const example = fileURLToPath(new URL('../../examples/support-answers/', import.meta.url));

interface Chapter {
  file: string;
  title: string;
  /** Why the end is not the one that the chapter is about; null: it is. */
  mistake(ended: ToldRelease, seen: ReadonlySet<string>): string | null;
}

const rolledBack = (ended: ToldRelease): string | null =>
  ended.stage === 'rolled-back' ? null : `it ended ${ended.stage}, not rolled back`;

const chapters: Chapter[] = [
  {
    file: '1-better.yaml',
    title: 'A prompt that answers better, on the same model with other runtime flags',
    mistake: (ended) => (ended.stage === 'done' ? null : `it ended ${ended.stage}: ${ended.reason}`),
  },
  {
    file: '2-regressed.yaml',
    title: 'A prompt that passes its golden set and answers worse on everything else',
    mistake: (ended, seen) =>
      rolledBack(ended) ??
      (seen.has('canary') && !seen.has('promoting')
        ? null
        : 'it was not stopped in the canary, where its users were'),
  },
  {
    file: '3-broken.yaml',
    title: 'A prompt that fails its golden set',
    mistake: (ended, seen) =>
      rolledBack(ended) ??
      (seen.has('provisioning') || seen.has('canary') ? 'it got past its evaluation' : null),
  },
];

export interface MainJob {
  /** Workflow ids by the release files' names, for recording histories. */
  releases: Record<string, string>;
  /** What did not go as it should, in sentences; empty: everything did. */
  mistakes: string[];
}

/** Releases the example's first revision, lets its users ask, and runs its other three releases under them. */
export async function runMainJob(
  supervisor: Supervisor,
  stack: Stack,
  slipway: Slipway,
  say: Say,
): Promise<MainJob> {
  const engineer = new ApiClient(slipway.apiUrl, slipway.keys.engineer);
  const approver = new ApiClient(slipway.apiUrl, slipway.keys.approver);
  const job: MainJob = { releases: {}, mistakes: [] };

  const run = async (chapter: Chapter): Promise<void> => {
    const started = performance.now();
    say('');
    say(`── ${chapter.title} (examples/support-answers/releases/${chapter.file})`);
    const request = await releaseRequest(
      engineer,
      join(example, 'releases', chapter.file),
      (kind, pushed) => {
        if (pushed.created)
          say(`   pushed ${kind} ${pushed.name}@${pushed.version} (${shortDigest(pushed.digest)})`);
      },
    );
    const { release } = await engineer.call<{ release: string }>('POST', '/v1/releases', request, {
      'idempotency-key': randomUUID(),
    });
    job.releases[chapter.file] = release;
    const seen = new Set<string>();
    const ended = await tellRelease(engineer, release, say, async (now) => {
      seen.add(now.stage);
      if (now.stage === 'sign-off') await signOff(approver, now, say);
    });
    const mistake = chapter.mistake(ended, seen);
    say(
      `   ${release} ended ${ended.stage} after ${since(started)}${mistake === null ? ', as it should' : ''}`,
    );
    if (mistake !== null) job.mistakes.push(`${chapter.file}: ${mistake}`);
  };

  await run({
    file: '0-install.yaml',
    title: 'The first revision: evaluated and signed off; there is nothing yet to compare it with',
    mistake: (ended) => (ended.stage === 'done' ? null : `it ended ${ended.stage}: ${ended.reason}`),
  });
  if (job.mistakes.length > 0) return job;
  await startTraffic(supervisor, stack, slipway, say);
  for (const chapter of chapters) await run(chapter);
  return job;
}

/** The second person: reads what the release stands on, and signs exactly that. */
async function signOff(approver: ApiClient, release: ToldRelease, say: Say): Promise<void> {
  say(
    `   ada, an approver, signs revision ${shortDigest(release.candidate ?? '')} on evidence ${shortDigest(release.evidence ?? '')}`,
  );
  await approver.call('POST', `/v1/releases/${release.release}/approve`, {
    revision: release.candidate,
    evidence: release.evidence,
    reason: 'the example signs by itself',
  });
}

/** 3300 customers, in a process of their own; they know the gateway's address and a key, neither arm nor prompt. */
async function startTraffic(supervisor: Supervisor, stack: Stack, slipway: Slipway, say: Say): Promise<void> {
  await supervisor.start({
    name: 'traffic',
    command: process.execPath,
    args: [join(example, 'traffic.ts'), '--base-url', `${slipway.gatewayUrl}/v1`],
    env: { OPENAI_API_KEY: slipway.keys.tenant },
    logFile: join(stack.state, 'logs', 'traffic.log'),
    ready: () => answersHttp(`${slipway.gatewayUrl}/healthz`),
  });
  say('   3300 customers begin to ask, streamed and not, through the gateway (logs/traffic.log counts them)');
}
