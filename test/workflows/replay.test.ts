import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import proto from '@temporalio/proto';
import { bundleWorkflowCode, Runtime, Worker, type WorkflowBundle } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import pino from 'pino';
import { bundleWorkflows, installRuntime } from '../../workers/worker.ts';

const folder = new URL('./histories/', import.meta.url);
const files = (await readdir(folder)).filter((name) => name.endsWith('.history.json'));

async function replay(bundle: WorkflowBundle, file: string): Promise<void> {
  const history = proto.temporal.api.history.v1.History.fromObject(
    JSON.parse(await readFile(new URL(file, folder), 'utf8')),
  );
  await Worker.runReplayHistory({ workflowBundle: bundle }, history, `release:${file}`);
}

/** Histories of real releases, recorded by test/workflows/record-histories.ts: what runs in production must go on under this code. */
describe('replay', () => {
  let sound: WorkflowBundle;
  let broken: WorkflowBundle;

  before(async () => {
    installRuntime(pino({ level: 'silent' }));
    sound = await bundleWorkflows();
    broken = await bundleWorkflowCode({
      workflowsPath: fileURLToPath(new URL('./fixtures/broken-release.ts', import.meta.url)),
      logger: { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error() {} },
    });
  });

  after(() => Runtime.instance().shutdown());

  it('has a history of each example release', () => {
    for (const name of ['install', 'better', 'regressed', 'broken']) {
      assert.ok(
        files.some((file) => file.startsWith(name)),
        `no history of the release ${name}`,
      );
    }
  });

  for (const file of files) {
    it(`goes on with ${file}`, async () => {
      await replay(sound, file);
    });
    it(`notices that a broken workflow cannot go on with ${file}`, async () => {
      await assert.rejects(replay(broken, file), DeterminismViolationError);
    });
  }
});
