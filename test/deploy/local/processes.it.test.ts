import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, beforeEach, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { waitUntil } from '../../../deploy/local/probe.ts';
import { Supervisor } from '../../../deploy/local/processes.ts';
import { SlipwayError } from '../../../domain/errors.ts';
import { PATIENCE_MS } from '../../support/patience.ts';
import { temporaryFolder } from '../../support/stack.ts';

const folder = temporaryFolder();
after(folder.remove);

const node = process.execPath;
const WITHIN = { timeoutMs: PATIENCE_MS };
const logFile = join(folder.path, 'child.log');
/** Writes its pid where the test finds it, then stays. */
const stays = (name: string, more = ''): string[] => [
  '-e',
  `require('fs').writeFileSync(${JSON.stringify(join(folder.path, name))}, String(process.pid)); ${more}; setInterval(() => {}, 1000)`,
];

const pidOf = (name: string): Promise<number> =>
  waitUntil(`${name} starts`, () => Number(readFileSync(join(folder.path, name), 'utf8')), WITHIN);

/** True until the process is gone; one that nobody has waited for yet (a zombie) is gone. */
function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

const gone = (...pids: number[]): Promise<boolean> =>
  waitUntil('all are gone', () => !pids.some(lives), WITHIN);

let supervisor: Supervisor;
beforeEach(() => {
  supervisor = new Supervisor();
});
afterEach(() => supervisor.stopAll());

test('a process that dies before it is ready is an error that shows the end of its log', async () => {
  const starting = supervisor.start({
    name: 'Sample part',
    command: node,
    args: ['-e', 'console.error("the port is taken"); process.exit(3)'],
    logFile,
    ready: () => Promise.resolve(false),
  });
  await assert.rejects(starting, (error: unknown) => {
    assert.ok(error instanceof SlipwayError);
    assert.equal(error.code, 'DEPENDENCY_UNAVAILABLE');
    assert.match(error.message, /Sample part ended with exit code 3[\s\S]*the port is taken/);
    assert.match(error.details.remedy ?? '', /child\.log/);
    return true;
  });
});

test('a process that does not become ready in time is an error, and is stopped', async () => {
  const starting = supervisor.start({
    name: 'Slow part',
    command: node,
    args: stays('slow'),
    logFile,
    // Not before it runs: its time may be over sooner than that.
    ready: () => pidOf('slow').then(() => false),
    readyTimeoutMs: 500,
  });
  await assert.rejects(starting, /Slow part was not ready after/);
  await gone(await pidOf('slow'));
});

test('a program that is not there is an error, not a crash', async () => {
  await assert.rejects(
    supervisor.start({ name: 'Nothing', command: '/no/such/program', args: [], logFile }),
    /Nothing does not start \(\/no\/such\/program\)/,
  );
});

test('stopping kills what ignores the stop signal, with its whole group', async () => {
  const deaf = `process.on('SIGTERM', () => {}); require('child_process').spawn(process.execPath, ${JSON.stringify(stays('grandchild'))})`;
  const part = await supervisor.start({
    name: 'Deaf',
    command: node,
    args: stays('deaf', deaf),
    logFile,
    graceMs: 300,
  });
  const pids = [await pidOf('deaf'), await pidOf('grandchild')];
  await part.stop();
  await gone(...pids);
  assert.equal(part.running, false);
});

test('nobody of the group stays when its leader ends at once, or is killed alone', async () => {
  const leaves = (name: string): string[] =>
    stays(
      `leader-${name}`,
      `require('child_process').spawn(process.execPath, ${JSON.stringify(stays(name))})`,
    );
  for (const name of ['left-by-stop', 'left-by-kill']) {
    const part = await supervisor.start({ name, command: node, args: leaves(name), logFile });
    const pid = await pidOf(name);
    await (name === 'left-by-stop' ? part.stop() : part.kill('SIGKILL'));
    await gone(pid);
  }
});

test('a killed part can be started again with the same specification', async () => {
  const part = await supervisor.start({ name: 'Again', command: node, args: stays('again'), logFile });
  const first = part.pid;
  await part.kill('SIGKILL');
  assert.deepEqual(await part.exited, { code: null, signal: 'SIGKILL' });
  await part.start();
  assert.ok(part.pid && part.pid !== first);
});

test('everything stops in the reverse order of its start', async () => {
  const order = join(folder.path, 'order');
  writeFileSync(order, '');
  const says = (name: string): string =>
    `process.on('SIGTERM', () => { require('fs').appendFileSync(${JSON.stringify(order)}, '${name} '); process.exit(0) })`;
  for (const name of ['first', 'second', 'third']) {
    const ready = async () => Boolean(await pidOf(`ordered-${name}`));
    const args = ['-e', `${says(name)}; ${stays(`ordered-${name}`)[1]}`];
    await supervisor.start({ name, command: node, args, logFile, ready });
  }
  await supervisor.stopAll();
  assert.equal(readFileSync(order, 'utf8'), 'third second first ');
});

/** A supervisor of its own, in a program that starts a part, a grandchild in another group, and a plain child process. */
async function outerProgram(): Promise<{ program: ChildProcess; pids: number[] }> {
  const names = ['part', 'escaped', 'plain'].map((name) => `${name}-${Math.random()}`);
  const [part = '', escaped = '', plain = ''] = names;
  const local = fileURLToPath(new URL('../../../deploy/local/', import.meta.url));
  const leaves = `require('child_process').spawn(process.execPath, ${JSON.stringify(stays(escaped, "process.on('SIGTERM', () => {})"))}, { detached: true, stdio: 'ignore' }).unref()`;
  const text = `
    import { spawn } from 'node:child_process';
    import { Supervisor } from ${JSON.stringify(join(local, 'processes.ts'))};
    const supervisor = new Supervisor();
    supervisor.stopOnSignals();
    spawn(process.execPath, ${JSON.stringify(stays(plain))}, { stdio: 'ignore' });
    await supervisor.start({ name: 'part', command: process.execPath, args: ${JSON.stringify(stays(part, leaves))}, logFile: ${JSON.stringify(logFile)} });
    setInterval(() => {}, 1000);
  `;
  const program = spawn(node, ['--input-type=module-typescript', '-e', text], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const pids = await Promise.all(names.map(pidOf));
  return { program, pids };
}

test('a supervisor killed by SIGKILL leaves no process, not even one that left its group', async () => {
  const { program, pids } = await outerProgram();
  assert.ok(pids.every(lives));
  program.kill('SIGKILL');
  await gone(...pids);
});

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  test(`${signal} stops everything before the supervisor ends`, async () => {
    const { program, pids } = await outerProgram();
    program.kill(signal);
    assert.deepEqual(await once(program, 'exit'), [code, null]);
    assert.deepEqual(pids.filter(lives), []);
  });
}

test('what fails because everything is being stopped does not replace the end by the signal', async () => {
  const processes = fileURLToPath(new URL('../../../deploy/local/processes.ts', import.meta.url));
  const text = `
    import { once } from 'node:events';
    import { spawn } from 'node:child_process';
    import { Supervisor } from ${JSON.stringify(processes)};
    const supervisor = new Supervisor();
    supervisor.stopOnSignals();
    const build = spawn(process.execPath, ${JSON.stringify(stays('build'))}, { stdio: 'ignore' });
    await once(build, 'exit');
    await supervisor.letSignalEnd();
    process.exit(1);
  `;
  const program = spawn(node, ['--input-type=module-typescript', '-e', text], { stdio: 'inherit' });
  const build = await pidOf('build');
  program.kill('SIGINT');
  assert.deepEqual(await once(program, 'exit'), [130, null]);
  assert.equal(lives(build), false);
});

test('a crash of the supervisor leaves no process', async () => {
  const { program, pids } = await outerProgram();
  program.kill('SIGABRT');
  await gone(...pids);
});

test('a part that is kept up is started again when it dies, and not when everything stops', async () => {
  const part = await supervisor.start({
    name: 'Kept part',
    command: node,
    args: stays('kept'),
    logFile,
    ready: async () => (await pidOf('kept')) > 0,
  });
  const told: string[] = [];
  const kept = part.keepUp((line) => told.push(line));
  const first = part.pid;
  await part.kill('SIGKILL');
  await waitUntil('it runs again', () => part.pid !== undefined && part.pid !== first, WITHIN);
  assert.match(
    told.join('\n'),
    /Kept part was ended by SIGKILL; starting it again \(its log: .*child\.log\)/,
  );
  await supervisor.stopAll();
  await kept;
  assert.equal(part.pid, undefined);
  assert.equal(told.length, 1);
});
