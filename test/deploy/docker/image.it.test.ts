import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from '../../support/stack.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const folder = temporaryFolder();
after(folder.remove);

/** What the last stage of a Dockerfile copies from the repository, as [from, to]. */
function copied(dockerfile: string): [string, string][] {
  const last =
    readFileSync(join(ROOT, dockerfile), 'utf8')
      .split(/^FROM /m)
      .at(-1) ?? '';
  return [...last.matchAll(/^COPY (?!--from)(.+)$/gm)].flatMap(([, words = '']) => {
    const paths = words.split(' ');
    const to = paths.at(-1) ?? '';
    return paths.slice(0, -1).map((from): [string, string] => [from, to === './' ? from : to]);
  });
}

/** The files of the image, as Docker would lay them out; its node_modules are the checkout's. */
function layOut(dockerfile: string): string {
  const image = join(folder.path, dockerfile.replaceAll('/', '-'));
  for (const [from, to] of copied(dockerfile)) {
    assert.ok(existsSync(join(ROOT, from)), `${dockerfile} copies ${from}, which is not there`);
    mkdirSync(dirname(join(image, to)), { recursive: true });
    cpSync(join(ROOT, from), join(image, to), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(image, 'node_modules'));
  return image;
}

/** Runs a program of the image without any configuration. */
function run(image: string, args: string[]): Promise<{ code: number; output: string }> {
  // Nobody listens at port 1, whatever else runs on this machine.
  const env = { PATH: process.env.PATH, HOME: folder.path, TEMPORAL_ADDRESS: '127.0.0.1:1' };
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: image, env, timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, output: stdout + stderr });
    });
  });
}

const programs: [args: string[], code: number, says: RegExp][] = [
  [['api/main.ts'], 1, /DATABASE_URL is not set/],
  [['workers/main.ts'], 1, /DATABASE_URL is not set/],
  [['gateway/main.ts'], 2, /DATABASE_URL/],
  [['evaluator/main.ts'], 1, /SLIPWAY_JUDGE_URL is not set/],
  [['deploy/migrate.ts'], 2, /DATABASE_URL is not set/],
  [['cli/main.ts', '--help'], 0, /Release pipeline/],
  [['cli/main.ts', 'temporal', 'set-current', 'x', '--help'], 0, /new releases begin/],
];

test('the image holds all that each program loads, and a program says what it lacks', async () => {
  const image = layOut('deploy/docker/Dockerfile');
  for (const [args, code, says] of programs) {
    const ended = await run(image, args);
    assert.match(ended.output, says, args.join(' '));
    assert.equal(ended.code, code, `${args.join(' ')}: ${ended.output}`);
  }
  const { output } = await run(image, ['cli/main.ts', 'temporal', 'apply']);
  assert.match(output, /DEPENDENCY_UNAVAILABLE/);
});

test("the simulator's image holds all that it loads", async () => {
  const image = layOut('deploy/docker/simulator.Dockerfile');
  const { output } = await run(image, ['simulator/main.ts', 'serve', 'nobody/knows-this']);
  assert.match(output, /nobody\/knows-this/);
  assert.doesNotMatch(output, /ERR_MODULE_NOT_FOUND/);
});
