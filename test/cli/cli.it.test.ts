import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type ApiFixture, evidence, startApiFixture } from '../api/fixture.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { startTemporal } from '../support/stack.ts';
import { type Ended, slipway } from './slipway.ts';

const example = fileURLToPath(new URL('../../examples/support-answers/', import.meta.url));

describe('slipway against the API', () => {
  let fixture: ApiFixture;
  before(async () => {
    fixture = await startApiFixture();
  });
  after(async () => fixture?.stop());

  const as = (role: keyof ApiFixture['keys'], ...args: string[]): Promise<Ended> =>
    slipway(args, { SLIPWAY_API_URL: fixture.api.url, SLIPWAY_API_KEY: fixture.keys[role] });

  async function ok(role: keyof ApiFixture['keys'], ...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await as(role, ...args);
    assert.equal(code, 0, `${args.join(' ')}: ${stderr}`);
    return stdout;
  }

  /** Polls `release get` until the stage is reached. */
  async function reach(id: string, stage: string): Promise<void> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const found = JSON.parse(await ok('auditor', 'release', 'get', id, '--json')) as { stage: string };
      if (found.stage === stage) return;
      assert.ok(performance.now() < deadline, `${id} stays in ${found.stage}`);
    }
  }

  it('releases the example from its files, signs it off and follows it to the end', async () => {
    const file = `${example}releases/0-install.yaml`;
    const started = JSON.parse(
      await ok('engineer', 'release', 'create', '-f', file, '--key', 'k', '--json'),
    ) as {
      release: string;
      created: boolean;
    };
    assert.equal(started.created, true);
    const { release } = started;
    const again = JSON.parse(
      await ok('engineer', 'release', 'create', '-f', file, '--key', 'k', '--json'),
    ) as object;
    assert.deepEqual(again, { ...started, created: false });

    const specs = async () => (await fixture.db.query('select digest from release_specs')).rows;
    const before = await specs();
    const busy = await as('engineer', 'release', 'create', '-f', `${example}releases/1-better.yaml`);
    assert.equal(busy.code, 1);
    assert.deepEqual(await specs(), before);
    assert.match(busy.stderr, /Pushed before that, and kept: prompt support-answers@2; /);
    assert.match(busy.stderr, /^APPLICATION_HAS_RELEASE: .*\n {2}field .*\n {2}remedy /);

    await reach(release, 'sign-off');
    const self = await as('engineer', 'release', 'approve', release, '--evidence', evidence);
    assert.equal(self.code, 1);
    assert.match(self.stderr, /FORBIDDEN/);
    const other = 'f'.repeat(64);
    assert.match(
      (await as('engineer', 'release', 'approve', release, '--evidence', other)).stderr,
      /^FORBIDDEN/,
    );
    const stale = await as('approver', 'release', 'approve', release, '--evidence', other);
    assert.match(stale.stderr, /^SIGN_OFF_STALE: .* stands at the evidence sha256:e{64}\n/);
    await ok(
      'approver',
      'release',
      'approve',
      release,
      '--evidence',
      evidence.slice(0, 20),
      '--reason',
      'read it',
    );
    const watched = await ok('auditor', 'release', 'watch', release);
    assert.match(watched, /Signed off by approver: read it/);
    assert.match(watched, /is promoted/);
    const late = await as('approver', 'release', 'approve', release, '--evidence', other);
    assert.match(late.stderr, /^DECISION_REFUSED: the release .* has ended/);
    assert.match(await ok('auditor', 'release', 'explain', release), /engineer asks for support-answers@1/);
    assert.match(
      await ok('auditor', 'release', 'list'),
      new RegExp(`^${release} +done +Healthy +engineer`, 'm'),
    );
  });

  it('create -w ends 1 when the release does not end promoted', async () => {
    const create = as('engineer', 'release', 'create', '-f', `${example}releases/2-regressed.yaml`, '-w');
    const deadline = performance.now() + PATIENCE_MS;
    let id: string | undefined;
    while (id === undefined) {
      const list = JSON.parse(await ok('auditor', 'release', 'list', '--json')) as {
        release: string;
        stage: string;
      }[];
      id = list.find(({ stage }) => stage === 'canary')?.release;
      assert.ok(performance.now() < deadline, 'never reached the canary');
    }
    assert.match(await ok('engineer', 'release', 'pause', id, '--reason', 'lunch'), /taken/);
    const shown = await ok('auditor', 'release', 'get', id);
    assert.match(shown, /^reason +paused by engineer: lunch$/m);
    const [, started] = /^started +(\S+)$/m.exec(shown) ?? [];
    const listed = new RegExp(
      `^${id} +canary +Paused +engineer +${started} +paused by engineer: lunch$`,
      'm',
    );
    assert.match(await ok('auditor', 'release', 'list'), listed);
    await ok('engineer', 'release', 'resume', id);
    await ok('approver', 'release', 'abort', id, '--reason', 'enough');
    const { code, stdout } = await create;
    assert.equal(code, 1);
    assert.match(stdout, /Rolling back: aborted by approver: enough\n(.*\n)*.* ended rolled-back$/m);
    await ok('approver', 'release', 'abort', id); // twice is once, also after the end
    assert.match((await as('engineer', 'release', 'pause', id)).stderr, /DECISION_REFUSED/);
    assert.match((await as('auditor', 'gate', 'verify', id)).stderr, /NOT_FOUND/);
  });

  it('pushes, lists, shows and compares prompts', async () => {
    const pushed = await ok(
      'engineer',
      'prompt',
      'push',
      `${example}prompts/v1.md`,
      `${example}prompts/v2-better.md`,
    );
    const [first, second] = [...pushed.matchAll(/support-answers@\d+/g)].map(([reference]) => reference);
    assert.ok(first && second);
    assert.match(await ok('auditor', 'prompt', 'list', 'support-answers'), new RegExp(`^${second} `, 'm'));
    assert.match(await ok('auditor', 'prompt', 'show', first), /\{\{input\}\}/);
    assert.match(
      await ok('auditor', 'prompt', 'diff', first, second),
      /^\+Customer question: \{\{input\}\}$/m,
    );
    const unknown = await as('auditor', 'prompt', 'show', 'none@1');
    assert.deepEqual([unknown.code, unknown.stderr.split(':')[0]], [1, 'PROMPT_NOT_FOUND']);
  });

  it('makes, lists and revokes keys for admins', async () => {
    const made = JSON.parse(
      await ok('admin', 'key', 'create', '--name', 'zoe', '--role', 'auditor', '--json'),
    ) as {
      id: string;
      key: string;
    };
    const env = { SLIPWAY_API_URL: fixture.api.url, SLIPWAY_API_KEY: made.key };
    assert.equal((await slipway(['release', 'list'], env)).code, 0);
    const list = await ok('admin', 'key', 'list');
    assert.match(list, new RegExp(`^${made.id} +control +zoe +auditor`, 'm'));
    assert.ok(!list.includes(made.key));
    await ok('admin', 'key', 'revoke', made.id);
    assert.match((await slipway(['release', 'list'], env)).stderr, /UNAUTHENTICATED/);
    assert.match((await as('engineer', 'key', 'list')).stderr, /FORBIDDEN/);
  });
});

describe('slipway temporal apply', () => {
  it('makes the cluster of the environment match temporal.yaml, once', async () => {
    const temporal = await startTemporal({ own: true, bare: true });
    try {
      const env = { TEMPORAL_ADDRESS: temporal.address };
      const first = await slipway(['temporal', 'apply'], env);
      assert.equal(first.code, 0, first.stderr);
      assert.match(first.stdout, /^changed {2}.*SlipwayApplication/m);
      const second = await slipway(['temporal', 'apply'], env);
      assert.match(second.stdout, /nothing to change/);
    } finally {
      await temporal.stop();
    }
  });

  it('ends 3 when no Temporal answers, and 1 for a topology that is not valid', async () => {
    const silent = await slipway(['temporal', 'apply'], { TEMPORAL_ADDRESS: '127.0.0.1:9' });
    assert.equal(silent.code, 3, silent.stderr);
    const invalid = await slipway(['temporal', 'apply', '-f', `${example}policy.yaml`]);
    assert.deepEqual([invalid.code, invalid.stderr.split(':')[0]], [1, 'TOPOLOGY_INVALID']);
  });
});
