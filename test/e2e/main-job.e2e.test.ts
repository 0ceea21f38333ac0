import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { processesWithEnvironment } from '../../adapters/serving/local/processes.ts';
import { waitUntil } from '../../deploy/local/probe.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { temporaryFolder } from '../support/stack.ts';

/** Shorter than the runner's patience with a test, so that the story so far is shown. */
const WHOLE_JOB_MS = 570_000;

const root = fileURLToPath(new URL('../../', import.meta.url));
const folder = temporaryFolder();
after(folder.remove);

/** What a user's `npm start` runs, with a mark that every process of it inherits. */
function npmStart(...args: string[]) {
  const mark = randomUUID();
  const { DATABASE_URL: _d, TEMPORAL_ADDRESS: _t, PROMETHEUS_URL: _p, ...env } = process.env;
  const program = ['deploy/local/bootstrap.mjs', 'deploy/local/start.ts', '--state', folder.path, ...args];
  const child = spawn(process.execPath, program, {
    cwd: root,
    env: { ...env, E2E_RUN: mark },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const job = {
    child,
    output: '',
    exit: new Promise<number | null>((resolve) => child.once('exit', resolve)),
    /** All that it told has been read, which may be after its end. */
    told: new Promise((resolve) => child.once('close', resolve)),
    processes: () => processesWithEnvironment('E2E_RUN', mark),
    tells: (line: string) =>
      waitUntil(line, () => job.output.includes(line) || hopeless(), { timeoutMs: WHOLE_JOB_MS }),
    nothingIsLeft: () =>
      waitUntil('every process has ended', async () => (await job.processes()).length === 0, {
        timeoutMs: PATIENCE_MS,
      }),
  };
  const hopeless = (): boolean => {
    if (child.exitCode !== null) assert.fail(`it ended with ${child.exitCode}:\n${job.output}`);
    return false;
  };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      job.output += text;
    });
  }
  return job;
}

const IN_THE_CANARY = 'weight: 0.1 asked, 0.1 observed';

test('killed in a canary with SIGKILL, it leaves no process behind, no control plane and no pod', async () => {
  const job = npmStart('--kubernetes');
  await job.tells(IN_THE_CANARY);
  assert.ok(podAddresses().length > 0);
  const processes = await job.processes();
  assert.ok(processes.length > 15, `${processes.length} processes`);
  const supervisor = await childOf(job.child.pid);
  process.kill(supervisor, 'SIGKILL');
  assert.equal(await job.exit, 128 + 9);
  await job.nothingIsLeft();
  await waitUntil("the pods' addresses have gone", () => podAddresses().length === 0, {
    timeoutMs: PATIENCE_MS,
  });
});

test('started again on what was left, and interrupted with SIGINT, it stops everything in order', async () => {
  const job = npmStart();
  await job.tells(IN_THE_CANARY);
  job.child.kill('SIGINT');
  assert.equal(await job.exit, 128 + 2);
  await job.nothingIsLeft();
});

test('--once: a better prompt is promoted, a worse one stopped in its canary, a broken one never met a user', async () => {
  const job = npmStart('--once');
  const late = setTimeout(() => job.child.kill('SIGINT'), WHOLE_JOB_MS);
  const code = await job.exit;
  clearTimeout(late);
  await job.told;
  assert.equal(code, 0, job.output);
  const [, install = '', better = '', regressed = '', broken = ''] = job.output.split('── ');
  tells(install, /sign-off +Waiting for a sign-off/, /ended done .* as it should/);
  tells(
    better,
    /Checklist: all 8 checks passed/,
    /Evaluation: 30 of 30 cases passed/,
    /weight: 0\.1 asked, 0\.1 observed/,
    /\d+ of 1000 samples/,
    /Verdict promote; quality:judge 0\.\d+ → 0\.\d+/,
    /ada, an approver, signs revision \w{12} on evidence \w{12}/,
    /weight: 0\.25 asked, 0\.25 observed/,
    /weight: 0\.5 asked, 0\.5 observed/,
    /weight: 1 asked, 1 observed/,
    /baking/,
    /ended done .* as it should/,
  );
  tells(
    regressed,
    /weight: 0\.1 asked, 0\.1 observed/,
    /Rolling back: .*quality:judge/,
    /ended rolled-back .* as it should/,
  );
  assert.doesNotMatch(regressed, /Raising the weight/);
  tells(broken, /Rolling back: EVALUATION_FAILED/, /ended rolled-back .* as it should/);
  assert.doesNotMatch(broken, /Opening the canary|Starting a serving/);
  tells(broken, /All 4 releases ended as they should/, /Temporal UI +http/);
  await job.nothingIsLeft();
});

/** The addresses that this job's nodes have added, by the label that the agent derives from its state folder. */
function podAddresses(): string[] {
  const owner = createHash('sha256').update(join(folder.path, 'nodes')).digest('hex').slice(0, 5);
  const listed = execFileSync('ip', ['-oneline', 'address', 'show', 'dev', 'lo', 'label', `lo:s${owner}*`]);
  return listed.toString().split('\n').filter(Boolean);
}

/** The process that the bootstrap has started. */
async function childOf(bootstrap: number | undefined): Promise<number> {
  const children = await readFile(`/proc/${bootstrap}/task/${bootstrap}/children`, 'utf8');
  const [child] = children.trim().split(' ').map(Number);
  assert.ok(child, `the bootstrap has the children ${children}`);
  return child;
}

/** In this order. */
function tells(text: string, ...lines: RegExp[]): void {
  let rest = text;
  for (const line of lines) {
    const found = line.exec(rest);
    assert.ok(found, `${line} is not told, or not in its place:\n${text}`);
    rest = rest.slice(found.index + found[0].length);
  }
}
