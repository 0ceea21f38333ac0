import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { ReleaseActivities } from '../../activities/contract.ts';
import { table } from '../../cli/output.ts';
import { activityWords } from '../../cli/words.ts';
import { slipway } from './slipway.ts';
import { json, startStub } from './stub.ts';

const release = {
  release: 'shop-1',
  application: 'shop',
  requester: 'ana',
  stage: 'sign-off',
  phase: 'Paused',
  reason: null,
  candidate: `sha256:${'c'.repeat(64)}`,
  stable: null,
  weight: { desired: 0.1, observed: 0.1 },
  evidence: `sha256:${'e'.repeat(64)}`,
  verdict: 'promote',
  horizon: null,
  startedAt: '2026-11-21T09:00:00.000Z',
  canarySince: null,
  endedAt: null,
  samples: { stable: { samples: 9000, users: 700 }, canary: { samples: 1000, users: 80 } },
  pending: [],
  live: true,
};

describe('exit codes', () => {
  it('3 when the API does not answer, with what to do', async () => {
    const { code, stderr } = await slipway(['release', 'list'], { SLIPWAY_API_URL: 'http://127.0.0.1:9' });
    assert.equal(code, 3);
    assert.match(stderr, /UNREACHABLE: the API does not answer at http:\/\/127\.0\.0\.1:9/);
    assert.match(stderr, /remedy .*slipway up/);
  });

  it('1 for an address that is none, with the flag or variable, the value and the remedy', async () => {
    const { code, stderr } = await slipway(['release', 'list', '--api', 'nonsense']);
    assert.equal(code, 1);
    assert.match(stderr, /^INPUT_INVALID: --api .*\n {2}field {3}--api = "nonsense"\n {2}remedy .*http/);
    const byEnvironment = await slipway(['release', 'list'], { SLIPWAY_API_URL: 'ftp://shop' });
    assert.match(byEnvironment.stderr, /field {3}SLIPWAY_API_URL = "ftp:\/\/shop"/);
  });

  it('3 when something else answers', async () => {
    const stub = await startStub((_asked, response) => response.end('<html>'));
    const { code, stderr } = await slipway(['release', 'list'], stub.env);
    await stub.stop();
    assert.equal(code, 3);
    assert.match(stderr, /not the Slipway API/);
  });

  for (const args of [
    ['relaese', 'list'],
    ['temporal', 'set-current', 'b2', '--within', 'soon'],
    ['release', 'create'],
    ['release', 'get'],
    ['release', 'list', '--nonsense'],
  ]) {
    it(`2 for ${args.join(' ')}`, async () => assert.equal((await slipway(args)).code, 2));
  }

  for (const args of [['--help'], ['--version'], ['release', '--help']]) {
    it(`0 for ${args.join(' ')}`, async () => assert.equal((await slipway(args)).code, 0));
  }
});

describe('refusals', () => {
  const error = {
    code: 'POLICY_INVALID',
    message: 'policy.canary.weight must be at most 0.5',
    field: 'policy.canary.weight',
    value: 1.5,
    remedy: 'Give a value that must be at most 0.5',
  };

  it('are shown with field, value and remedy, without colours for a pipe, and end 1', async () => {
    const stub = await startStub((_asked, response) => json(response, 422, { error }));
    const { code, stdout, stderr } = await slipway(['release', 'list'], stub.env);
    await stub.stop();
    assert.equal(code, 1);
    assert.equal(stdout, '');
    assert.equal(
      stderr,
      `POLICY_INVALID: ${error.message}\n  field   policy.canary.weight = 1.5\n  remedy  ${error.remedy}\n`,
    );
  });

  it('are JSON on standard output with --json, wherever it stands', async () => {
    const stub = await startStub((_asked, response) => json(response, 422, { error }));
    for (const args of [
      ['--json', 'release', 'list'],
      ['release', 'list', '--json'],
    ]) {
      const { code, stdout } = await slipway(args, stub.env);
      assert.equal(code, 1);
      assert.deepEqual(JSON.parse(stdout), { error });
    }
    await stub.stop();
  });
});

describe('keys', () => {
  const refusing = (code: string, status: number) =>
    startStub((_asked, response) => {
      const remedy =
        code === 'FORBIDDEN' ? 'Use a key with one of the roles: admin' : 'Send Authorization: Bearer KEY';
      json(response, status, { error: { code, message: 'refused', field: 'authorization', remedy } });
    });

  for (const [what, key] of [
    ['missing', ''],
    ['wrong', 'slw_other'],
    ['no text that a header takes', '…'],
  ] as const) {
    it(`are the variable SLIPWAY_API_KEY and not a header, when one is ${what}`, async () => {
      const stub = await refusing('UNAUTHENTICATED', 401);
      const { code, stderr } = await slipway(['release', 'list'], { ...stub.env, SLIPWAY_API_KEY: key });
      await stub.stop();
      assert.equal(code, 1);
      assert.match(
        stderr,
        /^UNAUTHENTICATED: .*\n {2}field {3}SLIPWAY_API_KEY\n {2}remedy {2}Set SLIPWAY_API_KEY to /,
      );
      assert.doesNotMatch(stderr, /Bearer|authorization/i);
    });
  }

  it('that may not are named so, too', async () => {
    const stub = await refusing('FORBIDDEN', 403);
    const { stderr } = await slipway(['key', 'list'], stub.env);
    await stub.stop();
    assert.match(
      stderr,
      /^FORBIDDEN: refused\n {2}field {3}SLIPWAY_API_KEY\n {2}remedy {2}Use a key with .*admin\n$/,
    );
  });
});

describe('reading', () => {
  it('sends the key, and shows a release as facts', async () => {
    const stub = await startStub((_asked, response) => json(response, 200, release));
    const { code, stdout, stderr } = await slipway(['release', 'get', 'shop/1'], stub.env);
    await stub.stop();
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      stub.asked.map(({ method, path, headers }) => [method, path, headers.authorization]),
      [['GET', '/v1/releases/shop%2F1', 'Bearer slw_secret']],
    );
    assert.match(stdout, /^weight +10 % asked, 10 % observed$/m);
    assert.match(
      stdout,
      /^samples +9000 samples of 700 users on stable, 1000 samples of 80 users on canary$/m,
    );
    for (const never of ['slw_secret', '\u001b']) assert.ok(!(stdout + stderr).includes(never));
  });

  it('counts one as one', async () => {
    const one = { samples: 1, users: 1 };
    const stub = await startStub((_asked, response) =>
      json(response, 200, { ...release, samples: { stable: one, canary: one } }),
    );
    const { stdout } = await slipway(['release', 'get', 'shop-1'], stub.env);
    await stub.stop();
    assert.match(stdout, /^samples +1 sample of 1 user on stable, 1 sample of 1 user on canary$/m);
  });

  it('says of a promotion what is stable now, and of no arm', async () => {
    const stable = `sha256:${'b'.repeat(64)}`;
    const promoted = { ...release, stage: 'done', phase: 'Healthy', endedAt: '2026-11-28T10:00:00.000Z' };
    const weight = { desired: 0, observed: 0 };
    const stub = await startStub(({ path }, response) =>
      json(response, 200, { ...promoted, weight, stable: path.endsWith('first') ? null : stable }),
    );
    const { stdout } = await slipway(['release', 'get', 'shop-1'], stub.env);
    const first = await slipway(['release', 'get', 'first'], stub.env);
    await stub.stop();
    assert.match(stdout, new RegExp(`^promoted +${release.candidate}: became the stable revision$`, 'm'));
    assert.match(stdout, new RegExp(`^replaced +${stable}$`, 'm'));
    assert.match(first.stdout, /^replaced +nothing: it is the first revision of the application$/m);
    for (const misleading of [/^weight/m, /^stable/m, /^candidate/m]) assert.doesNotMatch(stdout, misleading);
  });

  it('says what every activity of a release does in other words than its name', () => {
    const activities: Record<keyof ReleaseActivities, true> = {
      registerRelease: true,
      checkPreflight: true,
      evaluateCandidate: true,
      provideServing: true,
      removeServing: true,
      planGate: true,
      moveTraffic: true,
      watchGuards: true,
      judgeCanary: true,
      holdCanary: true,
      notify: true,
      endRelease: true,
    };
    assert.deepEqual(Object.keys(activityWords).sort(), Object.keys(activities).sort());
  });

  it('lists releases that go on as their workflow knows them, a pause with its reason', async () => {
    const paused = { ...release, stage: 'canary', reason: 'paused by ana: lunch' };
    const listed = { ...release, stage: 'canary', phase: 'Progressing' };
    const ended = { ...listed, release: 'shop-0', stage: 'done', phase: 'Healthy', endedAt: '2026-11-20' };
    const away = { code: 'DEPENDENCY_UNAVAILABLE', message: 'Temporal does not answer' };
    let isAway = false;
    const stub = await startStub(({ path }, response) => {
      if (path === '/v1/releases') return json(response, 200, { releases: [listed, ended] });
      return isAway ? json(response, 503, { error: away }) : json(response, 200, paused);
    });
    const { stdout } = await slipway(['release', 'list'], stub.env);
    assert.match(stdout, /^shop-1 +canary +Paused +ana .* paused by ana: lunch$/m);
    assert.match(stdout, /^shop-0 +done +Healthy /m);
    assert.deepEqual(
      stub.asked.map(({ path }) => path),
      ['/v1/releases', '/v1/releases/shop-1'],
    );
    isAway = true;
    const mirrored = await slipway(['release', 'list'], stub.env);
    await stub.stop();
    assert.match(mirrored.stdout, /^shop-1 +canary +Progressing /m);
  });

  it('says of a paused release what lets it go on, and not to sign it', async () => {
    const held = { ...release, reason: 'paused by ana: lunch' };
    const stub = await startStub((_asked, response) => json(response, 200, held));
    const { stdout } = await slipway(['release', 'get', 'shop-1'], stub.env);
    await stub.stop();
    assert.match(stdout, /waiting +to go on: slipway release resume shop-1/);
    assert.doesNotMatch(stdout, /a sign-off/);
  });

  it('lists in columns', async () => {
    const stub = await startStub(({ path }, response) =>
      json(response, 200, path.startsWith('/v1/releases?') ? { releases: [release] } : release),
    );
    const { stdout } = await slipway(['release', 'list', '--application', 'shop'], stub.env);
    await stub.stop();
    assert.equal(stub.asked[0]?.path, '/v1/releases?application=shop');
    assert.deepEqual(
      stdout
        .split('\n')
        .slice(0, 2)
        .map((line) => line.split(/ {2,}/)),
      [
        ['RELEASE', 'STAGE', 'PHASE', 'REQUESTER', 'STARTED', 'REASON'],
        ['shop-1', 'sign-off', 'Paused', 'ana', '2026-11-21T09:00:00.000Z'],
      ],
    );
  });
});

describe('signing off', () => {
  const answering = () =>
    startStub(({ method }, response) =>
      json(response, 200, method === 'GET' ? { release, story: [] } : { ...release, stage: 'promoting' }),
    );

  it('names the evidence that was read, of which 12 digits are enough (invariant 7)', async () => {
    const stub = await answering();
    const { code } = await slipway(
      ['release', 'approve', 'shop-1', '--evidence', 'e'.repeat(12), '--reason', 'fine'],
      stub.env,
    );
    await stub.stop();
    assert.equal(code, 0);
    assert.deepEqual(stub.asked.at(-1)?.body, {
      revision: release.candidate,
      evidence: release.evidence,
      reason: 'fine',
    });
  });

  /** An API that refuses as the workflow does: what stands is signed, by whoever may. */
  const judging = (refusal: string | null) =>
    startStub(({ method, body }, response) => {
      if (method === 'GET') return json(response, 200, { release, story: [] });
      const isStale = (body as { evidence: string }).evidence !== release.evidence;
      const code = refusal ?? (isStale ? 'SIGN_OFF_STALE' : null);
      if (code === null) return json(response, 200, { ...release, stage: 'promoting' });
      json(response, 409, { error: { code, message: 'refused' } });
    });

  for (const [what, given] of [
    ['other evidence', 'f'.repeat(64)],
    ['too few digits', 'eeee'],
    ['what is no digest', 'yes'],
  ] as const) {
    it(`refuses ${what}, and signs nothing`, async () => {
      const stub = await judging(null);
      const ended = await slipway(['release', 'approve', 'shop-1', '--evidence', given], stub.env);
      await stub.stop();
      assert.equal(ended.code, 1);
      assert.match(ended.stderr, new RegExp(`^SIGN_OFF_STALE: .*\\n {2}field {3}evidence = "${given}"`));
      const signed = stub.asked.flatMap(
        ({ body }) => (body as { evidence: string } | undefined)?.evidence ?? [],
      );
      assert.deepEqual(signed, [`sha256:${'0'.repeat(64)}`]);
    });
  }

  for (const refusal of ['FORBIDDEN', 'SIGN_OFF_BY_REQUESTER', 'DECISION_REFUSED'] as const) {
    it(`tells ${refusal} before it tells that the evidence is another`, async () => {
      const stub = await judging(refusal);
      const ended = await slipway(['release', 'approve', 'shop-1', '--evidence', 'f'.repeat(12)], stub.env);
      await stub.stop();
      assert.equal(ended.code, 1);
      assert.ok(ended.stderr.startsWith(`${refusal}: refused`), ended.stderr);
    });
  }

  it('refuses to guess the evidence where nobody can be asked', async () => {
    const stub = await judging(null);
    const ended = await slipway(['release', 'approve', 'shop-1'], stub.env);
    await stub.stop();
    assert.equal(ended.code, 2);
    assert.deepEqual(stub.asked, []);
  });
});

describe('watching', () => {
  const line = (id: number) =>
    `event: story\nid: ${id}\ndata: {"at":"2026-11-21T09:00:0${id}.000Z","stage":"canary","text":"line ${id}"}\n\n`;
  const end = (stage: string, reason: string | null) =>
    `event: end\ndata: ${JSON.stringify({ ...release, stage, reason })}\n\n`;
  const pending = `event: pending\ndata: [{"activity":"judgeCanary","attempt":3,"message":"412 of 1000 samples","code":"NOT_YET","progress":null}]\n\n`;

  it('resumes where the stream broke off, and ends 0 when the release is promoted', async () => {
    const stub = await startStub(({ headers }, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      if (headers['last-event-id'] === undefined) {
        response.write(line(1) + pending + line(2));
        setImmediate(() => response.destroy());
      } else response.end(line(3) + end('done', null));
    });
    const { code, stdout, stderr } = await slipway(['release', 'watch', 'shop-1'], stub.env);
    await stub.stop();
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      stub.asked.map(({ headers }) => headers['last-event-id']),
      [undefined, '2'],
    );
    assert.deepEqual(stdout.match(/line \d|412 of 1000 samples|is promoted/g), [
      'line 1',
      '412 of 1000 samples',
      'line 2',
      'line 3',
      'is promoted',
    ]);
  });

  it('tells each thing once, in the words of the field', async () => {
    const waits = (...pending: [activity: string, said: string | null][]) =>
      `event: pending\ndata: ${JSON.stringify(
        pending.map(([activity, message]) => ({
          activity,
          attempt: 2,
          message,
          code: 'NOT_YET',
          progress: null,
        })),
      )}\n\n`;
    const guards: [string, string] = ['watchGuards', '900 samples; guards ok'];
    const gate: [string, string] = ['judgeCanary', 'holding: no sample yet'];
    const told = `event: story\nid: 1\ndata: ${JSON.stringify({ at: '2026-11-21T09:00:00.000Z', stage: 'preflight', text: 'Checklist:\nfirst item' })}\n\n`;
    const rolledBack = `event: story\nid: 2\ndata: ${JSON.stringify({ at: '2026-11-21T09:00:01.000Z', stage: 'rolling-back', text: 'Rolling back: quality fell' })}\n\n`;
    const stub = await startStub((_asked, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(
        told + waits(['watchGuards', null]) + waits(guards) + waits(guards, ['judgeCanary', null]),
      );
      response.write(
        waits(gate, guards) + waits() + waits(guards, gate) + waits(['watchGuards', '901 samples']),
      );
      response.end(rolledBack + end('rolled-back', 'quality fell'));
    });
    const { stdout } = await slipway(['release', 'watch', 'shop-1'], stub.env);
    await stub.stop();
    assert.deepEqual(stdout.trimEnd().split('\n'), [
      '2026-11-21 09:00:00  preflight     Checklist:',
      `${' '.repeat(35)}first item`,
      '  watching the guards: 900 samples; guards ok',
      '  asking the gate: holding: no sample yet',
      '  watching the guards: 901 samples',
      '2026-11-21 09:00:01  rolling-back  Rolling back: quality fell',
      'shop-1 ended rolled-back',
    ]);
  });

  it('ends 1 with the reason when it was rolled back; --json is one event a line', async () => {
    const stub = await startStub((_asked, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(line(1) + end('rolled-back', 'quality fell'));
    });
    const forPeople = await slipway(['release', 'watch', 'shop-1'], stub.env);
    const forScripts = await slipway(['release', 'watch', 'shop-1', '--json'], stub.env);
    await stub.stop();
    assert.equal(forPeople.code, 1);
    assert.match(forPeople.stdout, /ended rolled-back: quality fell/);
    assert.equal(forScripts.code, 1);
    const events = forScripts.stdout
      .trim()
      .split('\n')
      .map((text) => JSON.parse(text) as { event: string });
    assert.deepEqual(
      events.map(({ event }) => event),
      ['story', 'end'],
    );
  });
});

describe('a release file', () => {
  let folder: string;
  const files: Record<string, string> = {
    'prompts/v1.md': '---\nname: shop\n---\n{{input}}\n',
    'golden.yaml': '- vars: { input: a }\n  assert: [{ type: equals, value: b }]\n',
    'policy.yaml': 'canary: { weight: 0.2 }\nbaking: { duration: 1h }\n',
    'bad-policy.yaml': 'canary: { weight: 2 }\n',
    'odd-policy.yaml': 'gate: { horizons: [8d] }\n',
    'prompts/bad.md': '---\nname: shop\n---\n{{input}} {{nobody}}\n',
    'bad-golden.yaml': '- vars: { input: a }\n  assert: [{ type: guess }]\n',
    'bad-guardrails.yaml': 'name: Shop\n',
    'config.json': JSON.stringify({
      num_hidden_layers: 2,
      num_attention_heads: 4,
      hidden_size: 256,
      torch_dtype: 'bfloat16',
    }),
  };
  const spec = (policy: string, more = '') => `
application: shop
prompt: ../prompts/v1.md
goldenSet: ../golden.yaml
guardrails: house@3
model: { name: m, config: ../config.json, weightsGiB: 1, price: { inputPerMillion: 1, outputPerMillion: 2 } }
policy: ${policy}
${more}`;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-cli-'));
    await mkdir(join(folder, 'prompts'));
    await mkdir(join(folder, 'releases'));
    files['releases/good.yaml'] = spec('../policy.yaml');
    files['releases/bad-policy.yaml'] = spec('../bad-policy.yaml');
    files['releases/missing.yaml'] = spec('../none.yaml');
    files['releases/unknown.yaml'] = spec('../policy.yaml', 'wieght: 1');
    files['releases/odd-policy.yaml'] = spec('../odd-policy.yaml');
    const good = spec('../policy.yaml');
    files['releases/bad-prompt.yaml'] = good.replace('v1.md', 'bad.md');
    files['releases/bad-golden.yaml'] = good.replace('../golden', '../bad-golden');
    files['releases/bad-guardrails.yaml'] = good.replace('house@3', '../bad-guardrails.yaml');
    files['releases/bad-flags.yaml'] = spec(
      '../policy.yaml',
      'runtime: { flags: { host: x }, gpu: { kind: L4, memoryGiB: 24, count: 1 }, concurrency: 1, replicas: 1 }',
    );
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  });
  after(() => rm(folder, { recursive: true }));

  const answering = () =>
    startStub(({ path, body }, response) => {
      if (path === '/v1/releases')
        return json(response, 201, { release: 'shop-1', created: true, registered: true });
      const { name } = body as { name: string };
      json(response, 201, { name, version: 7, digest: `sha256:${'d'.repeat(64)}`, created: true });
    });

  it('has its files pushed first, and names them by version', async () => {
    const stub = await answering();
    const { code, stdout, stderr } = await slipway(
      ['release', 'create', '-f', join(folder, 'releases', 'good.yaml'), '--key', 'k1'],
      stub.env,
    );
    await stub.stop();
    assert.equal(code, 0, stderr);
    assert.deepEqual(
      stub.asked.map(({ path }) => path),
      ['/v1/prompts', '/v1/golden-sets', '/v1/releases'],
    );
    assert.equal(stub.asked[2]?.headers['idempotency-key'], 'k1');
    assert.deepEqual(stub.asked[2]?.body, {
      application: 'shop',
      prompt: 'shop@7',
      goldenSet: 'shop@7',
      guardrails: 'house@3',
      model: {
        name: 'm',
        price: { inputPerMillion: 1, outputPerMillion: 2 },
        architecture: { layers: 2, kvHeads: 4, headDim: 64, kvBytes: 2, weightsGiB: 1 },
      },
      policy: { canary: { weight: 0.2 }, baking: { duration: '1h' } },
    });
    assert.match(stdout, /prompt shop@7 pushed/);
    assert.match(stdout, /release shop-1 started/);
  });

  for (const created of [true, false]) {
    it(`that only the API refuses ${created ? 'names what was pushed for it' : 'names nothing that was there before'}`, async () => {
      const error = { code: 'APPLICATION_HAS_RELEASE', message: 'busy', remedy: 'Wait' };
      const stub = await startStub(({ path, body }, response) => {
        if (path === '/v1/releases') return json(response, 409, { error });
        const version = { ...(body as object), version: 7, digest: 'sha256:d' };
        json(response, 201, { ...version, created: created && path === '/v1/prompts' });
      });
      const file = join(folder, 'releases', 'good.yaml');
      const { code, stdout } = await slipway(['release', 'create', '-f', file, '--json'], stub.env);
      await stub.stop();
      assert.equal(code, 1);
      const { remedy } = (JSON.parse(stdout) as { error: { remedy: string } }).error;
      if (created) assert.match(remedy, /^Wait\. Pushed before that, and kept: prompt shop@7; /);
      else assert.equal(remedy, 'Wait');
    });
  }

  it('may name the golden set in its policy as the version that its file is', async () => {
    const stub = await answering();
    const file = join(folder, 'releases', 'named.yaml');
    await writeFile(file, spec('{ evaluation: { goldenSet: shop@7 } }'));
    const { code, stderr } = await slipway(['release', 'create', '-f', file], stub.env);
    await stub.stop();
    assert.equal(code, 0, stderr);
  });

  it('is followed from its start, also when Temporal blinks in between', async () => {
    let looks = 0;
    const stub = await startStub(({ path, body }, response) => {
      if (path === '/v1/releases') {
        return json(response, 201, { release: 'shop-1', created: true, registered: true });
      }
      if (path !== '/v1/releases/shop-1/watch') {
        return json(response, 201, { ...(body as object), version: 7, digest: 'sha256:d', created: true });
      }
      looks += 1;
      const error = { code: 'DEPENDENCY_UNAVAILABLE', message: 'Temporal does not answer' };
      if (looks === 1) return json(response, 503, { error });
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.end(`event: end\ndata: ${JSON.stringify({ ...release, stage: 'done', reason: null })}\n\n`);
    });
    const file = join(folder, 'releases', 'good.yaml');
    const { code, stderr } = await slipway(['release', 'create', '-f', file, '-w'], stub.env);
    await stub.stop();
    assert.equal(code, 0, stderr);
  });

  for (const [file, code, field] of [
    ['bad-policy.yaml', 'POLICY_INVALID', 'canary.weight = 2'],
    ['missing.yaml', 'INPUT_INVALID', 'none.yaml'],
    ['unknown.yaml', 'INPUT_INVALID', 'wieght = 1'],
    ['odd-policy.yaml', 'POLICY_INVALID', 'odd-policy.yaml: gate.horizons[0] is not whole weeks'],
    ['bad-prompt.yaml', 'PROMPT_VARIABLE_UNKNOWN', 'bad.md'],
    ['bad-golden.yaml', 'GOLDEN_SET_INVALID', 'bad-golden.yaml'],
    ['bad-guardrails.yaml', 'INPUT_INVALID', 'bad-guardrails.yaml'],
    ['bad-flags.yaml', 'INPUT_INVALID', 'runtime.flags.host'],
  ] as const) {
    it(`${file} is refused before anything is pushed`, async () => {
      const stub = await answering();
      const ended = await slipway(['release', 'create', '-f', join(folder, 'releases', file)], stub.env);
      await stub.stop();
      assert.equal(ended.code, 1);
      assert.ok(ended.stderr.startsWith(`${code}: `), ended.stderr);
      assert.ok(ended.stderr.includes(field), ended.stderr);
      assert.match(ended.stderr, /remedy/);
      assert.deepEqual(stub.asked, []);
    });
  }
});

describe('reaper report', () => {
  it('says that the first run is to come, not that the schedule is missing', async () => {
    const stub = await startStub((_asked, response) =>
      json(response, 200, { lastRun: null, unneeded: [], over: [] }),
    );
    const { stdout } = await slipway(['reaper', 'report'], stub.env);
    await stub.stop();
    assert.match(stdout, /has not run yet\. Its first run is due within reaper\.every of temporal\.yaml/);
  });
});

describe('release list', () => {
  it('cuts long reasons; --json has all of them', async () => {
    const reason = `judge: ${'worse '.repeat(100)}`;
    const releases = [
      { release: 'shop-1', stage: 'rolled-back', phase: 'Degraded', requester: 'ana', reason },
    ];
    const stub = await startStub((_asked, response) =>
      json(response, 200, { releases: releases.map((one) => ({ ...one, startedAt: '2026-01-08' })) }),
    );
    const { stdout } = await slipway(['release', 'list'], stub.env);
    const whole = await slipway(['release', 'list', '--json'], stub.env);
    await stub.stop();
    const shown = /judge: .*$/m.exec(stdout)?.[0] ?? '';
    assert.ok(shown.endsWith('…') && shown.length <= 80 && shown.length > 70, shown);
    assert.equal(JSON.parse(whole.stdout)[0].reason, reason);
  });

  it('leaves short reasons, and fills the width of a terminal', () => {
    const wide = table(['ID', 'REASON'], [['1', 'x'.repeat(60)]], 40);
    assert.deepEqual(wide, ['ID  REASON', `1   ${'x'.repeat(35)}…`]);
    assert.deepEqual(table(['ID', 'REASON'], [['1', 'short']], 40)[1], '1   short');
    const narrow = table(['ID', 'REASON'], [['1'.repeat(50), 'x'.repeat(60)]], 40);
    assert.equal(narrow[1], `${'1'.repeat(50)}  ${'x'.repeat(19)}…`);
  });
});

describe('gate verify', () => {
  const verified = {
    release: 'shop/1',
    plan: 'sha256:11',
    verdicts: [{ horizon: 0, decision: 'continue', watermark: 41, digest: 'sha256:22' }],
    looks: { guards: { kept: 2016, recomputed: 2016 }, gate: { kept: 2000, recomputed: 3 } },
    reason: 'quality:judge: worse',
    stop: {
      at: '2026-01-08T00:00:00.000Z',
      reason: 'quality:judge: worse',
      from: 'samples',
      watermark: 57,
      digest: 'sha256:33',
    },
  };
  const output = async (changes: object) => {
    const stub = await startStub((_asked, response) => json(response, 200, { ...verified, ...changes }));
    const { code, stdout } = await slipway(['gate', 'verify', 'shop/1', '--looks', '2'], stub.env);
    await stub.stop();
    assert.equal(code, 0);
    assert.equal(stub.asked[0]?.path, '/v1/releases/shop%2F1/verification?looks=2');
    return stdout;
  };

  it('says what was recomputed, and from what', async () => {
    const stdout = await output({});
    assert.match(stdout, /^judged by the plan sha256:11$/m);
    assert.match(stdout, /^1 +continue +41 +sha256:22$/m);
    assert.match(stdout, /^stopped by a guard's look at 2026-01-08T00:00:00.000Z: quality:judge: worse$/m);
    assert.match(stdout, /^ {2}recomputed from the raw samples up to batch 57; look sha256:33$/m);
    assert.match(stdout, /^1 verdict recomputed from the raw samples/m);
    assert.match(stdout, /^3 of 2000 looks at the ledger recomputed from the raw samples/m);
    assert.match(stdout, /^2016 of 2016 looks at the guards recomputed from the measurements/m);
    assert.match(
      await output({ stop: { ...verified.stop, from: 'measurements', watermark: null } }),
      /recomputed from Prometheus' measurements/,
    );
  });

  it('says when no look was the reason, and when one cannot be recomputed', async () => {
    assert.match(
      await output({ stop: null, reason: 'aborted by bob' }),
      /^no look stopped it; it ended with: aborted by bob$/m,
    );
    assert.match(await output({ stop: { ...verified.stop, watermark: null } }), /not recomputed/);
  });

  it('says that there is nothing to verify where the release ended before its canary', async () => {
    const verify = async (release: object, ...options: string[]) => {
      const stub = await startStub(({ path }, response) =>
        path.endsWith('/explain')
          ? json(response, 200, {
              release: {
                release: 'shop/1',
                canarySince: null,
                endedAt: '2026-01-08',
                reason: null,
                ...release,
              },
              story: ['registering', 'preflight', 'rolling-back', 'rolled-back'].map((stage) => ({ stage })),
            })
          : json(response, 404, { error: { code: 'NOT_FOUND', message: 'the gate has no plan' } }),
      );
      const ended = await slipway([...options, 'gate', 'verify', 'shop/1'], stub.env);
      await stub.stop();
      return ended;
    };
    const refused = { stage: 'rolled-back', reason: 'the checklist failed' };
    const { code, stdout } = await verify(refused);
    assert.equal(code, 0);
    assert.equal(
      stdout,
      'there is nothing to verify: the release ended in preflight, before its canary: the checklist failed\n',
    );
    const { verdicts, plan, reason } = JSON.parse((await verify(refused, '--json')).stdout);
    assert.deepEqual([verdicts, plan, reason], [[], null, 'the checklist failed']);
    assert.match((await verify({ stage: 'done' })).stdout, /the release was promoted without a canary/);
    for (const other of [{ endedAt: null }, { canarySince: '2026-01-07' }]) {
      const kept = await verify({ stage: 'rolled-back', ...other });
      assert.equal(kept.code, 1);
      assert.match(kept.stderr, /NOT_FOUND: the gate has no plan/);
    }
  });
});

describe('the gate on files', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-gate-'));
    await writeFile(
      join(folder, 'policy.yaml'),
      `canary: { weight: 0.5, minDuration: 12h }
gate:
  horizons: [12h]
  stratum: 1h
  minSamples: 100
  minUsers: 100
  metrics: [{ metric: quality:judge, direction: higher, margin: 0.1, scale: absolute, role: guard }]
promotion: { steps: [1] }
`,
    );
    await writeFile(join(folder, 'same.csv'), samples(0));
    await writeFile(join(folder, 'worse.csv'), samples(0.3));
    await writeFile(join(folder, 'broken.csv'), 'time,user,arm,quality:judge\n2026-01-05,u1,stable,0.5\n');
  });
  after(() => rm(folder, { recursive: true }));

  /** Half a day of 400 users an arm; every second user of an arm scores high. */
  function samples(harm: number, firstRows = harm): string {
    const rows = Array.from({ length: 1600 }, (_, i) => {
      const user = i % 800;
      const canary = user % 2 === 1;
      const score = (user % 4 < 2 ? 0.6 : 0.8) - (canary ? (i < 400 ? firstRows : harm) : 0);
      const time = new Date(Date.UTC(2026, 0, 5) + i * 27_000).toISOString();
      return `${time},u${user},${canary ? 'canary' : 'stable'},${score.toFixed(2)}`;
    });
    return `${['time,user,arm,quality:judge', ...rows].join('\n')}\n`;
  }
  const judge = (file: string, ...more: string[]) =>
    slipway(['gate', 'judge', join(folder, file), '--policy', join(folder, 'policy.yaml'), ...more]);

  it('judges a CSV file: 0 and promote when nothing is worse, wherever the API may be', async () => {
    const { code, stdout, stderr } = await judge('same.csv', '--api', 'nowhere');
    assert.equal(code, 0, stderr + stdout);
    assert.match(stdout, /promote/);
    assert.match(stdout, /quality:judge/);
  });

  it('1 when something is worse, with the decision for scripts', async () => {
    const { code, stdout } = await judge('worse.csv', '--json');
    assert.equal(code, 1);
    const { verdict } = JSON.parse(stdout) as { verdict: { decision: string } };
    assert.equal(verdict.decision, 'rollback');
  });

  it('1 for a canary that is fine in the end, when a guard would have stopped it before', async () => {
    const input = samples(-0.1, 0.3);
    const judged = (...more: string[]) =>
      slipway(['gate', 'judge', '-', '--policy', join(folder, 'policy.yaml'), ...more], {}, folder, input);
    const { code, stdout } = await judged();
    assert.equal(code, 1);
    assert.match(stdout, /^promote; /m);
    assert.match(stdout, /^a guard's look after .* h would have stopped the canary: .*quality:judge/m);
    const found = JSON.parse((await judged('--json')).stdout) as { stopped: { harm: boolean } };
    assert.equal(found.stopped.harm, true);
    const fine = JSON.parse((await judge('same.csv', '--json')).stdout) as { stopped: null };
    assert.equal(fine.stopped, null);
  });

  it('names the cell that cannot be read', async () => {
    const { code, stderr } = await judge('broken.csv');
    assert.equal(code, 1);
    assert.match(stderr, /SAMPLES_INVALID/);
    assert.match(stderr, /rows\[2\]\.time = "2026-01-05"/);
  });

  it('refuses a column that is named twice', async () => {
    await writeFile(
      join(folder, 'twice.csv'),
      'time,user,arm,quality:judge,quality:judge\n2026-01-05T00:00Z,u1,stable,0.5,0.1\n',
    );
    const { code, stderr } = await judge('twice.csv');
    assert.equal(code, 1);
    assert.match(stderr, /SAMPLES_INVALID: .*twice\.csv.*\n {2}field {3}rows\[1\]\.quality:judge/);
  });

  it('judges by a plan that was printed, in the time that is said', async () => {
    const planned = await slipway(['gate', 'plan', '-f', join(folder, 'policy.yaml'), '--json']);
    const file = join(folder, 'plan.json');
    await writeFile(file, planned.stdout);
    const byPlan = (...more: string[]) =>
      slipway(['gate', 'judge', join(folder, 'same.csv'), '--plan', file, '--json', ...more]);
    const [one, other] = await Promise.all([byPlan(), judge('same.csv', '--json')]);
    assert.deepEqual(JSON.parse(one.stdout), JSON.parse(other.stdout));

    const late = await byPlan('--from', '2026-01-05T06:00:00Z', '--to', '2026-01-05 12:00:00+00');
    assert.equal(late.code, 1);
    const { verdict, rows } = JSON.parse(late.stdout) as {
      rows: { all: number; judged: number; outside: number };
      verdict: { decision: string; elapsed: number };
    };
    assert.deepEqual([verdict.decision, verdict.elapsed], ['invalid', 6 * 3_600_000]);
    assert.deepEqual([rows.all, rows.outside], [1600, 798], 'those of six hours but the last minute');

    const { digest } = JSON.parse(planned.stdout) as { digest: string };
    const told = await slipway(['gate', 'judge', join(folder, 'same.csv'), '--plan', file]);
    assert.match(told.stdout, new RegExp(`^judged by the plan ${digest}\\n1600 of 1600 rows, .*\\n$`, 'm'));
    await writeFile(file, planned.stdout.replace('"minUsers": 100', '"minUsers": 1'));
    const edited = await byPlan();
    assert.equal(edited.code, 1);
    const { error } = JSON.parse(edited.stdout) as { error: { code: string; field: string; value: string } };
    assert.deepEqual([error.code, error.field, error.value], ['INPUT_INVALID', 'digest', digest]);
  });

  it('counts what lies outside of the time that is said, and refuses a time in which nothing lies', async () => {
    const { code, stdout } = await judge(
      'same.csv',
      '--from',
      '2026-01-05T06:00:00Z',
      '--to',
      '2026-01-05T09:00Z',
    );
    assert.equal(code, 1);
    // With the two of the last minute before: a clock may be behind.
    assert.match(
      stdout,
      /^402 of 1600 rows, those from 2026-01-05T06:00:00.000Z up to 2026-01-05T09:00:00.000Z; the file reaches from 2026-01-05T00:00:00.000Z to 2026-01-05T11:59/m,
    );
    const [, outside] = /^rows dated outside of the canary: (\d+);/m.exec(stdout) ?? [];
    const [, later] = /^rows from later, not judged: (\d+)$/m.exec(stdout) ?? [];
    assert.equal(Number(outside) + Number(later), 1198);
    const wrong = await judge('same.csv', '--from', '2025-01-05T06:00:00Z');
    assert.equal(wrong.code, 1);
    assert.match(
      wrong.stderr,
      /^SAMPLES_INVALID: .*same\.csv: none of the 1600 rows .* the file reaches from 2026-01-05T00:00:00.000Z to 2026-01-05T11:59.*\n {2}field {3}from = "2025-01-05T06/,
    );
  });

  it('reads standard input', async () => {
    const ended = await slipway(
      ['gate', 'judge', '-', '--policy', join(folder, 'policy.yaml')],
      {},
      folder,
      samples(0),
    );
    assert.equal(ended.code, 0, ended.stderr);
    const refused = await slipway(['gate', 'judge', '-', '--policy', 'policy.yaml'], {}, folder, 'a;b\n');
    assert.match(refused.stderr, /^SAMPLES_INVALID: standard input: the file has no column time/);
  });

  it('refuses times, phases and combinations that say nothing', async () => {
    for (const [args, code, words] of [
      [['--from', '2026-01-05'], 1, /INPUT_INVALID: --from has a time .*\n {2}field {3}from = "2026-01-05"/],
      [['--from', '2026-01-05T00:00Z', '--to', '2026-01-05T00:00Z'], 1, /--to is not after --from/],
      [['--phase', '2026-01-05T00:00Z'], 1, /--phase has a time/],
      [['--phase', '2026-01-05T00:00Z=2'], 1, /has no weight/],
      [['--phase', '2026-01-05T01:00Z=.2', '--phase', '2026-01-05T00:00Z=.3'], 1, /do not rise/],
      [['--phase', '2027-01-05T01:00Z=.5'], 1, /a phase begins .*\n {2}field {3}phase = "2027-01-05T01/],
      [['--release', 'r'], 2, /one of --policy, --plan and --release/],
    ] as const) {
      const ended = await judge('same.csv', ...args);
      assert.equal(ended.code, code, ended.stderr);
      assert.match(ended.stderr, words);
    }
    const both = ['gate', 'judge', join(folder, 'same.csv'), '--release', 'r', '--from', '2026-01-05T00:00Z'];
    assert.equal((await slipway(both)).code, 2);
  });

  it('plans a policy, and asks the API only for an application', async () => {
    const local = await slipway(['gate', 'plan', '-f', join(folder, 'policy.yaml')]);
    assert.equal(local.code, 0, local.stderr);
    assert.match(local.stdout, /quality:judge/);
    const stub = await startStub((_asked, response) =>
      json(response, 200, { plan: { words: ['planned'], refusal: null } }),
    );
    const asked = await slipway(
      ['gate', 'plan', '-f', join(folder, 'policy.yaml'), '--from-ledger', 'shop'],
      stub.env,
    );
    await stub.stop();
    assert.match(asked.stdout, /^planned\nplan sha256:[0-9a-f]{64}\n$/);
    assert.deepEqual(stub.asked[0]?.path, '/v1/gate/plan');
    const body = stub.asked[0]?.body as
      | { application: string; policy: { gate: { horizons: string[] } } }
      | undefined;
    assert.deepEqual([body?.application, body?.policy.gate.horizons], ['shop', ['12h']]);
  });
});
