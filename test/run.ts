/**
 * `npm test`: lint, types, fast tests, then the tests on real parts, then the end-to-end tests. `--quick` stops after the fast
 * tests. Other arguments are paths (or parts of paths) and choose among the test files. Ends with 0 only when everything passed.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { glob } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { loadTopology } from '../adapters/temporal/topology.ts';
import { kubernetesPrograms, startLocalKubernetes } from '../deploy/local/kubernetes/control-plane.ts';
import { freePort } from '../deploy/local/ports.ts';
import { startLocalPostgres } from '../deploy/local/postgres.ts';
import { Supervisor } from '../deploy/local/processes.ts';
import { startLocalTemporal } from '../deploy/local/temporal.ts';
import { resolveTool } from '../deploy/local/tools/resolve.ts';
import { helm, stackTools, temporalServer } from '../deploy/local/tools/spec.ts';
import { SHARED_DATABASE, SHARED_KUBECONFIG, SHARED_TEMPORAL, temporaryFolder } from './support/stack.ts';
import { noTests, sum, type Tally } from './support/tally.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const bin = (name: string): string => join(ROOT, 'node_modules', '.bin', name);
const say = (line: string): void => console.error(line);

/** They only work: one for each core. Node's own default leaves a core idle. */
const FAST_CONCURRENCY = availableParallelism();

/** Integration tests wait more than they work; more files at once only make each other slow. */
const INTEGRATION_CONCURRENCY = 3;

/** Each end-to-end file has a stack of its own, which is a core's work. */
const END_TO_END_CONCURRENCY = 2;

/** A test that hangs must fail, not hold everything up; milliseconds. */
const TEST_TIMEOUT = 600_000;

const { values, positionals } = parseArgs({
  options: { quick: { type: 'boolean' } },
  allowPositionals: true,
});

const supervisor = new Supervisor();
const folder = temporaryFolder();
supervisor.stopOnSignals();
process.on('exit', folder.remove);

/** Runs a program in the foreground; true when it ended with 0. */
function passes(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, [...args], { cwd: ROOT, stdio: 'inherit', env: { ...process.env, ...env } });
    child.once('error', (error) => {
      say(`${command} does not start: ${error.message}`);
      resolve(false);
    });
    child.once('exit', (code) => resolve(code === 0));
  });
}

type Kind = 'fast' | 'integration' | 'end-to-end';

function kindOf(file: string): Kind {
  if (file.endsWith('.it.test.ts')) return 'integration';
  return file.endsWith('.e2e.test.ts') ? 'end-to-end' : 'fast';
}

async function testFiles(kind: Kind): Promise<string[]> {
  const files: string[] = [];
  for await (const file of glob('test/**/*.test.ts', { cwd: ROOT })) {
    const chosen = positionals.length === 0 || positionals.some((part) => file.includes(part));
    if (chosen && kindOf(file) === kind) files.push(file);
  }
  return files.sort();
}

let counted = noTests;

/** Runs test files with Node's runner and adds what it counted; no files pass. */
async function runTests(kind: Kind, concurrency: number, env: NodeJS.ProcessEnv = {}): Promise<boolean> {
  const files = await testFiles(kind);
  if (files.length === 0) return true;
  say(`\n== ${kind} tests: ${files.length} files`);
  const tally = join(folder.path, `tally-${kind}.json`);
  const options = [
    `--test-timeout=${TEST_TIMEOUT}`,
    `--test-concurrency=${concurrency}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${fileURLToPath(new URL('support/tally.ts', import.meta.url))}`,
    `--test-reporter-destination=${tally}`,
  ];
  const passed = await passes(process.execPath, ['--test', ...options, ...files], env);
  counted = sum(counted, JSON.parse(readFileSync(tally, 'utf8')) as Tally);
  return passed;
}

/** The counts of all kinds together, as Node's runner prints those of one run. */
function printCounted(): void {
  const { tests, passed, failed, cancelled, skipped, todo } = counted;
  const lines = { tests, pass: passed, fail: failed, cancelled, skipped, todo };
  console.log('\n== all tests');
  for (const [name, count] of Object.entries(lines)) console.log(`ℹ ${name} ${count}`);
}

/** Test files that need a Kubernetes control plane say so in their path. */
const wantsKubernetes = (file: string): boolean => file.includes('kubernetes');

/** Starts what the given integration and end-to-end tests share. */
async function sharedParts(files: readonly string[]): Promise<NodeJS.ProcessEnv> {
  for (const tool of stackTools) await resolveTool(tool, { say });
  const kubernetes = files.some(wantsKubernetes) ? await sharedKubernetes() : {};
  const topology = await loadTopology();
  const [postgres, temporal] = await Promise.all([
    startLocalPostgres({
      supervisor,
      state: join(folder.path, 'postgres'),
      port: await freePort(),
      volatile: true,
    }),
    startLocalTemporal({
      supervisor,
      program: await resolveTool(temporalServer, { say }),
      state: join(folder.path, 'temporal'),
      port: await freePort(),
      dynamicConfig: topology.localServer.dynamicConfig,
      volatile: true,
    }),
  ]);
  return { [SHARED_DATABASE]: postgres.url, [SHARED_TEMPORAL]: temporal.address, ...kubernetes };
}

async function sharedKubernetes(): Promise<NodeJS.ProcessEnv> {
  const programs = await kubernetesPrograms(say);
  await resolveTool(helm, { say });
  const { kubeconfig } = await startLocalKubernetes({
    supervisor,
    programs,
    state: join(folder.path, 'control-plane'),
    port: await freePort(),
    volatile: true,
  });
  return { [SHARED_KUBECONFIG]: kubeconfig };
}

async function main(): Promise<boolean> {
  const results: boolean[] = [];
  if (positionals.length === 0) {
    say('== lint');
    results.push(await passes(bin('biome'), ['check', '--error-on-warnings', '.']));
    say('== types');
    results.push(await passes(bin('tsc'), []));
  }
  // A process a file: what they all import is compiled once.
  const compiled = { NODE_COMPILE_CACHE: join(folder.path, 'compiled') };
  results.push(await runTests('fast', FAST_CONCURRENCY, compiled));
  const rest = values.quick ? [] : [...(await testFiles('integration')), ...(await testFiles('end-to-end'))];
  if (rest.length > 0) {
    say('\n== starting the parts that the tests share');
    const shared = await sharedParts(rest);
    results.push(await runTests('integration', INTEGRATION_CONCURRENCY, shared));
    results.push(await runTests('end-to-end', END_TO_END_CONCURRENCY, shared));
  }
  return results.every(Boolean);
}

let passed = false;
try {
  passed = await main();
} catch (error) {
  await supervisor.letSignalEnd();
  console.error(error);
}
await supervisor.letSignalEnd();
await supervisor.stopAll();
printCounted();
passed &&= counted.tests > 0;
say(
  passed
    ? '\nAll passed.'
    : counted.tests > 0
      ? '\nNot everything passed: see above.'
      : '\nNo test was chosen.',
);
process.exit(passed ? 0 : 1);
