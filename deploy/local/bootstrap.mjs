/**
 * Runs a TypeScript program of this repository on its own Node: `bootstrap.mjs TARGET.ts [args]`. The only file that may meet another
 * Node (20 or newer) and a checkout without dependencies, so it is plain JavaScript and imports nothing but Node's own modules.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const ROOT = resolve(HERE, '..', '..');

/** The stamp lives inside node_modules, so that whoever removes the folder removes the claim that it is complete. */
const stampFile = (root) => join(root, 'node_modules', '.slipway-lock-hash');

const lockHash = (root) =>
  createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');

const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** True when npm's own record of what it installed agrees with package-lock.json, entry by entry. */
function installedAsLocked(root) {
  const record = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(record)) return false;
  const installed = readJson(record).packages ?? {};
  const locked = Object.entries(readJson(join(root, 'package-lock.json')).packages ?? {});
  return locked.every(([path, wanted]) => {
    if (path === '') return true;
    const found = installed[path];
    if (!found) return wanted.optional === true; // made for another platform
    return found.version === wanted.version && found.integrity === wanted.integrity;
  });
}

/** True when node_modules holds exactly what package-lock.json asks for. */
export function dependenciesMatch(root) {
  if (!existsSync(join(root, 'node_modules', '.bin', 'node'))) return false;
  const stamp = stampFile(root);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8').trim() === lockHash(root)) return true;
  if (!installedAsLocked(root)) return false;
  stampDependencies(root);
  return true;
}

export function stampDependencies(root) {
  writeFileSync(stampFile(root), `${lockHash(root)}\n`);
}

function install(root) {
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  console.error('slipway: installing the pinned dependencies (npm ci)');
  const ticker = setInterval(() => console.error(`slipway: still installing, ${seconds()} s so far`), 10_000);
  return new Promise((done, failed) => {
    const npm = spawn('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
      cwd: root,
      stdio: ['ignore', process.stderr, process.stderr],
    });
    npm.on('error', (cause) =>
      failed(new Error('slipway: npm does not start; install it with Node', { cause })),
    );
    npm.on('exit', (code, signal) => {
      if (code !== 0) return failed(new Error(`slipway: npm ci failed (${signal ?? `exit code ${code}`})`));
      stampDependencies(root);
      console.error(`slipway: dependencies installed in ${seconds()} s`);
      done();
    });
  }).finally(() => clearInterval(ticker));
}

/** A process's parent by /proc; 0 where there is none (macOS) or the process is gone. */
function parentOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return 0;
  }
}

/** Between npm and this process stands a shell that outlives a killed npm; both are watched, because nothing may stay when npm is gone. */
function onOrphaned(act) {
  const shell = process.ppid;
  const npm = parentOf(shell);
  const watch = setInterval(() => {
    if (process.ppid === shell && parentOf(shell) === npm) return;
    clearInterval(watch);
    act();
  }, 500);
  watch.unref();
}

/** Runs the target and ends as it ends. Signals sent to this process alone reach the target too. */
function run(root, target, args) {
  const node = join(root, 'node_modules', '.bin', 'node');
  // The target learns from the closed channel when this process is killed, and can stop what it started.
  const child = spawn(node, [resolve(root, target), ...args], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    // A terminal's Ctrl-C reaches the whole foreground group, the target included: then it must not get it twice.
    process.on(signal, () => {
      if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
    });
  }
  onOrphaned(() => child.kill('SIGTERM'));
  child.on('error', (error) => {
    console.error(`slipway: ${node} does not start: ${error.message}. Remove node_modules and try again.`);
    process.exit(1);
  });
  child.on('exit', (code, signal) => process.exit(signal ? 128 + constants.signals[signal] : (code ?? 1)));
}

async function main() {
  const [target, ...args] = process.argv.slice(2);
  if (!target) {
    console.error('usage: node deploy/local/bootstrap.mjs TARGET.ts [args]');
    process.exit(64);
  }
  if (!dependenciesMatch(ROOT)) await install(ROOT);
  run(ROOT, target, args);
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  main().catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
}
