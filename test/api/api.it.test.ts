import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Validator } from '@seriousme/openapi-schema-validator';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { planGate } from '../../domain/gate/plan.ts';
import { defaultGatePolicy } from '../../domain/gate/types.ts';
import { saveLook, savePlan } from '../../store/evidence.ts';
import { type ApiKey, newKey, saveApiKey } from '../../store/keys.ts';
import { activeRelease, listReleases } from '../../store/releases.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { type Answer, type CallOptions, call } from './caller.ts';
import { ApiDocument } from './document.ts';
import { type ApiFixture, evidence, roles, startApiFixture } from './fixture.ts';

type Holder = (typeof roles)[number];

const policy = {
  canary: { minDuration: '1s' },
  gate: { horizons: ['1s', '60s'], lookEvery: '500ms', stratum: '1s' },
  promotion: { hold: '0s' },
  baking: { duration: '0s' },
};
const secretText = 'the prompt text that no log may carry';

describe('the API', () => {
  let fixture: ApiFixture;
  let document: ApiDocument;

  before(async () => {
    fixture = await startApiFixture();
    document = new ApiDocument(await (await fetch(`${fixture.api.url}/openapi.json`)).json());
    await push('prompts', { template: '{{input}}', system: secretText });
    await push('prompts', { template: 'Question: {{input}}', system: secretText });
    await push('golden-sets', {
      cases: [{ vars: { input: 'a' }, assert: [{ type: 'equals', value: 'b' }] }],
    });
    await push('guardrails', { input: [], output: [] });
  });
  after(async () => fixture?.stop());

  const as = (
    holder: Holder | null,
    method: string,
    path: string,
    options: CallOptions = {},
    url = fixture.api.url,
  ): Promise<Answer> =>
    call(url, document, method, path, {
      key: holder === null ? undefined : fixture.keys[holder],
      ...options,
    });
  const push = (kind: string, content: unknown, name = 'answers') =>
    as('engineer', 'POST', `/v1/${kind}`, { body: { name, content } });

  const spec = (application: string, more: object = {}) => ({
    application,
    prompt: 'answers@1',
    goldenSet: 'answers@1',
    guardrails: 'answers@1',
    model: {
      name: 'a-model',
      architecture: { layers: 1, kvHeads: 1, headDim: 64, kvBytes: 2, weightsGiB: 1 },
      price: { inputPerMillion: 1, outputPerMillion: 1 },
    },
    runtime: { flags: {}, gpu: { kind: 'L4', memoryGiB: 24, count: 1 }, concurrency: 1, replicas: 1 },
    policy,
    ...more,
  });

  async function start(application: string, more: object = {}): Promise<string> {
    const { status, body } = await as('engineer', 'POST', '/v1/releases', { body: spec(application, more) });
    assert.equal(status, 201, JSON.stringify(body));
    return body.release ?? '';
  }

  /** Polls until the release is as wanted. */
  async function until(id: string, wanted: (view: Answer['body']) => boolean): Promise<Answer['body']> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const { status, body } = await as('auditor', 'GET', `/v1/releases/${id}`);
      if (status === 200 && wanted(body)) return body;
      if (performance.now() > deadline) assert.fail(`${id} did not get there: ${JSON.stringify(body)}`);
      await delay(30);
    }
  }
  const inStage = (stage: string) => (view: Answer['body']) => view.stage === stage;

  async function signOff(id: string): Promise<void> {
    const view = await until(id, inStage('sign-off'));
    const { status, body } = await as('approver', 'POST', `/v1/releases/${id}/approve`, {
      body: { revision: view.candidate, evidence: view.evidence },
    });
    assert.equal(status, 200, JSON.stringify(body));
  }

  /** A first release of the application, promoted. */
  async function install(application: string): Promise<string> {
    const id = await start(application);
    await signOff(id);
    await until(id, (view) => view.endedAt !== null);
    return id;
  }

  describe('its description', () => {
    it('is a valid OpenAPI 3.1 document', async () => {
      const result = await new Validator().validate(structuredClone(document.raw));
      assert.ok(result.valid, JSON.stringify(result.errors));
      assert.match((document.raw as unknown as { openapi: string }).openapi, /^3\.1\./);
    });

    it('writes durations as texts', () => {
      assert.match(
        JSON.stringify(document.raw.paths['/v1/releases']),
        /"minDuration":\{"type":"string","pattern"/,
      );
    });
  });

  describe('keys and roles', () => {
    /** Who may do what; everybody else is refused, whatever the rest of the request says. */
    const readers = [...roles];
    const engineers = ['engineer', 'admin'];
    const approvers = ['approver', 'admin'];
    const operators = ['engineer', 'approver', 'admin'];
    const allowed: Record<string, string[] | 'public'> = {
      'GET /openapi.json': 'public',
      'GET /healthz': 'public',
      'POST /v1/keys': ['admin'],
      'GET /v1/keys': ['admin'],
      'DELETE /v1/keys/{id}': ['admin'],
      'POST /v1/prompts': engineers,
      'GET /v1/prompts': readers,
      'GET /v1/prompts/{reference}': readers,
      'GET /v1/prompts/{reference}/diff': readers,
      'POST /v1/golden-sets': engineers,
      'GET /v1/golden-sets': readers,
      'GET /v1/golden-sets/{reference}': readers,
      'POST /v1/guardrails': engineers,
      'GET /v1/guardrails': readers,
      'GET /v1/guardrails/{reference}': readers,
      'GET /v1/releases': readers,
      'POST /v1/releases': engineers,
      'GET /v1/releases/{id}': readers,
      'GET /v1/releases/{id}/explain': readers,
      'GET /v1/releases/{id}/watch': readers,
      'GET /v1/releases/{id}/evidence': readers,
      'GET /v1/releases/{id}/looks': readers,
      'GET /v1/releases/{id}/verification': readers,
      'POST /v1/gate/plan': readers,
      'GET /v1/reaper': readers,
      'GET /v1/revisions/{digest}/manifests': readers,
      'POST /v1/manifests': readers,
      'POST /v1/releases/{id}/approve': approvers,
      'POST /v1/releases/{id}/reject': approvers,
      'POST /v1/releases/{id}/pause': operators,
      'POST /v1/releases/{id}/resume': operators,
      'POST /v1/releases/{id}/abort': operators,
    };

    it('cover every route of the document', () => {
      assert.deepEqual(document.routes.toSorted(), Object.keys(allowed).toSorted());
    });

    for (const [route, who] of Object.entries(allowed)) {
      const [method = '', template = ''] = route.split(' ');
      const path = template
        .replace('{id}', '0123456789ab')
        .replace('{digest}', '0123456789ab')
        .replace('{reference}', 'none@9');
      const body = method === 'POST' ? { body: { nothing: true } } : {};

      it(`${route}: ${who}`, async () => {
        for (const role of roles) {
          const { status } = await as(role, method, path, body);
          const refused = who !== 'public' && !who.includes(role);
          assert.equal(status === 403, refused, `${role} got ${status}`);
          assert.notEqual(status, 401);
        }
        for (const key of [undefined, newKey(), '', 'x y']) {
          const { status } = await call(fixture.api.url, document, method, path, { key, ...body });
          assert.equal(status === 401, who !== 'public', `${key} got ${status}`);
        }
      });
    }

    it('a key works once it is made, on every replica, and not after it is revoked', async () => {
      const made = await as('admin', 'POST', '/v1/keys', {
        body: { kind: 'control', name: 'zoe', role: 'auditor' },
      });
      assert.equal(made.status, 201);
      const { id, key } = made.body as unknown as { id: string; key: string };
      const list = await as('admin', 'GET', '/v1/keys');
      assert.ok(!JSON.stringify(list.body).includes(key));
      assert.ok(JSON.stringify(list.body).includes(`"id":"${id}"`));
      const probe = () => as(null, 'GET', '/v1/releases', { key }, fixture.replica.url);
      assert.equal((await probe()).status, 200);
      assert.equal((await as('admin', 'DELETE', `/v1/keys/${id}`)).status, 204);
      assert.equal((await probe()).status, 401);
      assert.equal((await as('admin', 'DELETE', `/v1/keys/${id}`)).status, 404);
    });

    it('a tenant key does not open the control plane', async () => {
      const made = await as('admin', 'POST', '/v1/keys', { body: { kind: 'tenant', tenant: 'shop' } });
      const { key } = made.body as unknown as { key: string };
      assert.equal((await as(null, 'GET', '/v1/releases', { key })).status, 401);
    });
  });

  describe('pushing', () => {
    it('gives the same content its version, and other content the next', async () => {
      const content = { template: 'Answer {{input}}' };
      const first = await push('prompts', content, 'pushed');
      const again = await push('prompts', content, 'pushed');
      const other = await push('prompts', { template: 'Answer {{input}}!' }, 'pushed');
      assert.deepEqual([first.status, again.status, other.status], [201, 200, 201]);
      assert.deepEqual([first.body.version, again.body.version, other.body.version], [1, 1, 2]);
      assert.equal(first.body.digest, again.body.digest);
    });

    it('shows, lists and compares versions', async () => {
      const shown = await as('auditor', 'GET', '/v1/prompts/answers@2');
      assert.equal((shown.body.content as unknown as { template: string }).template, 'Question: {{input}}');
      const byDigest = await as('auditor', 'GET', `/v1/prompts/${shown.body.digest}`);
      assert.deepEqual(byDigest.body, shown.body);
      const list = await as('auditor', 'GET', '/v1/prompts?name=answers');
      assert.deepEqual(
        (list.body.versions as unknown as { version: number }[]).map(({ version }) => version),
        [2, 1],
      );
      const diff = await as('auditor', 'GET', '/v1/prompts/answers@1/diff?to=answers@2');
      assert.match(String(diff.body.diff), /^-\{\{input\}\}$/m);
      assert.match(String(diff.body.diff), /^\+Question: \{\{input\}\}$/m);
      for (const kind of ['golden-sets', 'guardrails']) {
        assert.equal((await as('auditor', 'GET', `/v1/${kind}/answers@1`)).status, 200);
        assert.equal((await as('auditor', 'GET', `/v1/${kind}`)).status, 200);
      }
    });
  });

  describe('bad input', () => {
    const release = (change: object) => ({ body: { ...spec('refused'), ...change } });
    const cases: [
      what: string,
      method: string,
      path: string,
      CallOptions,
      status: number,
      code: string,
      field?: string,
    ][] = [
      ['no JSON', 'POST', '/v1/releases', { text: '{"application":' }, 400, 'REQUEST_INVALID'],
      ['no body', 'POST', '/v1/releases', {}, 422, 'INPUT_INVALID', ''],
      [
        'another media type',
        'POST',
        '/v1/releases',
        { text: 'a: b', headers: { 'content-type': 'text/yaml' } },
        415,
        'REQUEST_INVALID',
      ],
      ['a huge body', 'POST', '/v1/prompts', { text: `"${'x'.repeat(9e6)}"` }, 413, 'REQUEST_INVALID'],
      ['an unknown key', 'POST', '/v1/releases', release({ wieght: 1 }), 422, 'INPUT_INVALID', 'wieght'],
      [
        'an invalid policy',
        'POST',
        '/v1/releases',
        release({ policy: { canary: 1 } }),
        422,
        'POLICY_INVALID',
        'policy.canary',
      ],
      [
        'a weight outside 0–1',
        'POST',
        '/v1/releases',
        release({ policy: { canary: { weight: 1.5 } } }),
        422,
        'POLICY_INVALID',
        'policy.canary.weight',
      ],
      [
        'steps that fall',
        'POST',
        '/v1/releases',
        release({ policy: { promotion: { steps: [0.5, 0.2, 1] } } }),
        422,
        'POLICY_INVALID',
        'policy.promotion.steps[1]',
      ],
      [
        'an unknown prompt',
        'POST',
        '/v1/releases',
        release({ prompt: 'none@1' }),
        404,
        'PROMPT_NOT_FOUND',
        'prompt',
      ],
      [
        'an unknown golden set',
        'POST',
        '/v1/releases',
        release({ goldenSet: 'none@1' }),
        404,
        'GOLDEN_SET_NOT_FOUND',
        'goldenSet',
      ],
      [
        'an unknown guardrail config',
        'POST',
        '/v1/releases',
        release({ guardrails: 'none@1' }),
        404,
        'GUARDRAILS_NOT_FOUND',
        'guardrails',
      ],
      [
        'a first release without a model',
        'POST',
        '/v1/releases',
        release({ model: undefined }),
        422,
        'INPUT_INVALID',
        'model',
      ],
      [
        'a prompt with an unknown variable',
        'POST',
        '/v1/prompts',
        { body: { name: 'bad', content: { template: '{{inptu}} {{input}}' } } },
        422,
        'PROMPT_VARIABLE_UNKNOWN',
        'template',
      ],
      [
        'a prompt of a wrong shape',
        'POST',
        '/v1/prompts',
        { body: { name: 'bad', content: { template: 7 } } },
        422,
        'PROMPT_INVALID',
        'content.template',
      ],
      [
        'an empty golden set',
        'POST',
        '/v1/golden-sets',
        { body: { name: 'bad', content: { cases: [] } } },
        422,
        'GOLDEN_SET_EMPTY',
        'tests',
      ],
      ['an unknown release', 'GET', '/v1/releases/none', {}, 404, 'RELEASE_NOT_FOUND', 'release'],
      [
        'an unknown release to abort',
        'POST',
        '/v1/releases/none/abort',
        { body: {} },
        404,
        'RELEASE_NOT_FOUND',
        'release',
      ],
      [
        'an unknown release to watch',
        'GET',
        '/v1/releases/none/watch',
        {},
        404,
        'RELEASE_NOT_FOUND',
        'release',
      ],
      ['an unknown path', 'GET', '/v2/releases', {}, 404, 'NOT_FOUND'],
      ['an unknown method', 'PUT', '/v1/releases', { body: {} }, 404, 'NOT_FOUND'],
      ['a path that is no text', 'GET', '/v1/prompts/%ff', {}, 400, 'REQUEST_INVALID'],
      ['a limit of 0', 'GET', '/v1/releases?limit=0', {}, 422, 'INPUT_INVALID', 'limit'],
      ['an unknown parameter', 'GET', '/v1/releases?app=a', {}, 422, 'INPUT_INVALID', 'app'],
      [
        'an approval without evidence',
        'POST',
        '/v1/releases/none/approve',
        { body: { revision: evidence } },
        422,
        'INPUT_INVALID',
        'evidence',
      ],
      [
        'a role that is none',
        'POST',
        '/v1/keys',
        { body: { kind: 'control', name: 'a', role: 'root' } },
        422,
        'INPUT_INVALID',
        'role',
      ],
    ];
    for (const [what, method, path, options, status, code, field] of cases) {
      it(`${what}: ${code}`, async () => {
        const answer = await as('admin', method, path, options);
        assert.deepEqual(
          [answer.status, answer.body.error?.code, answer.body.error?.field],
          [status, code, field],
          JSON.stringify(answer.body),
        );
        assert.ok(answer.body.error?.remedy, 'names a remedy');
      });
    }
  });

  describe('starting', () => {
    it('is one release per key, whoever repeats the request on whichever replica', async () => {
      const options = { body: spec('once'), headers: { 'idempotency-key': 'a' } };
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, i) =>
          as(
            'engineer',
            'POST',
            '/v1/releases',
            options,
            i % 2 === 0 ? fixture.api.url : fixture.replica.url,
          ),
        ),
      );
      assert.deepEqual(
        answers.map(({ status }) => status).toSorted(),
        [200, 200, 200, 200, 200, 200, 200, 200, 200, 201],
      );
      assert.equal(new Set(answers.map(({ body }) => body.release)).size, 1);
      assert.equal((await listReleases(fixture.db, { application: 'once' })).length, 1);

      const reused = await as('engineer', 'POST', '/v1/releases', {
        ...options,
        body: spec('once', { prompt: 'answers@2' }),
      });
      assert.deepEqual([reused.status, reused.body.error?.code], [409, 'RELEASE_KEY_REUSED']);
    });

    it('is one active release per application, also in a race of two replicas (invariant 1)', async () => {
      const answers = await Promise.all(
        Array.from({ length: 6 }, (_, i) =>
          as(
            'engineer',
            'POST',
            '/v1/releases',
            { body: spec('raced') },
            i % 2 === 0 ? fixture.api.url : fixture.replica.url,
          ),
        ),
      );
      assert.deepEqual(answers.map(({ status }) => status).toSorted(), [201, 409, 409, 409, 409, 409]);
      for (const { status, body } of answers) {
        if (status === 409) assert.equal(body.error?.code, 'APPLICATION_HAS_RELEASE');
      }
      const winner = answers.find(({ status }) => status === 201)?.body.release;
      assert.equal((await activeRelease(fixture.db, 'raced'))?.id, winner);
      assert.equal((await listReleases(fixture.db, { application: 'raced' })).length, 1);
    });

    it('tells what the registration refused, and lets the same key try again once it may', async () => {
      await install('unchanged');
      const same = { body: spec('unchanged'), headers: { 'idempotency-key': 'same' } };
      const refused = await as('engineer', 'POST', '/v1/releases', same);
      assert.deepEqual([refused.status, refused.body.error?.code], [422, 'RELEASE_CHANGES_NOTHING']);
      assert.ok(refused.body.error?.remedy);
      const again = await as('engineer', 'POST', '/v1/releases', same);
      assert.equal(again.body.error?.code, 'RELEASE_CHANGES_NOTHING');
    });

    it('a later release takes model, runtime and guardrails from the stable revision', async () => {
      await install('later');
      const { application, goldenSet } = spec('later');
      const { status, body } = await as('engineer', 'POST', '/v1/releases', {
        body: { application, goldenSet, prompt: 'answers@2', policy },
      });
      assert.equal(status, 201, JSON.stringify(body));
      const view = await until(body.release ?? '', (v) => v.candidate !== null);
      assert.notEqual(view.stable, null);
      await as('engineer', 'POST', `/v1/releases/${body.release}/abort`, { body: {} });
    });
  });

  describe('manifests', () => {
    const kindsOf = ({ objects }: Answer['body']): string[] =>
      (objects as unknown as { kind: string }[]).map(({ kind }) => kind);
    const kinds = ['ServiceAccount', 'NetworkPolicy', 'Service', 'PodDisruptionBudget', 'Deployment'];

    it("are the serving's of a revision, by its digest or the first 12 digits, with who asked for it", async () => {
      const id = await start('manifested');
      const { candidate } = await until(id, inStage('sign-off'));
      const path = `/v1/revisions/${candidate}/manifests`;
      const whole = await as('auditor', 'GET', path);
      assert.equal(whole.status, 200, JSON.stringify(whole.body));
      const { objects, name, serving, settings, notes } = whole.body as unknown as {
        objects: { metadata: { name: string; namespace: string; labels: Record<string, string> } }[];
        name: string;
        serving: string;
        settings: string;
        notes: string[];
      };
      assert.deepEqual(kindsOf(whole.body), kinds);
      assert.equal(settings, 'cluster');
      assert.deepEqual(notes, [`Serving ${serving} of revision ${candidate}.`]);
      for (const { metadata } of objects) {
        assert.deepEqual([metadata.name, metadata.namespace], [name, 'models']);
        assert.equal(metadata.labels['slipway.dev/release'], id);
        assert.equal(metadata.labels['slipway.dev/application'], 'manifested');
      }
      const short = `${candidate}`.slice(7, 19);
      for (const reference of [short, `sha256:${short}`, `${candidate}`.slice(7)]) {
        const other = await as('auditor', 'GET', `/v1/revisions/${reference}/manifests`);
        assert.deepEqual(other.body, whole.body);
      }
      await as('engineer', 'POST', `/v1/releases/${id}/abort`, { body: { reason: 'seen' } });
    });

    it('are also those of a release that nobody has started', async () => {
      const { model, runtime } = spec('unborn');
      const policy = { serving: { dedicated: true, scaling: { by: 'autoscaler', maxReplicas: 4 } } };
      const body = { application: 'unborn', model, runtime, policy };
      const answer = await as('engineer', 'POST', '/v1/manifests', { body });
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      assert.deepEqual(kindsOf(answer.body), [...kinds, 'ScaledObject']);
      assert.match((answer.body.notes as unknown as string[]).join(), /of no release yet.*name of its own/);
    });

    it('say what is missing: a revision, a model, an image, a place for the GPUs', async () => {
      const { model, runtime } = spec('unborn');
      const post = (body: object, url?: string) =>
        as('engineer', 'POST', '/v1/manifests', { body: { application: 'unborn', ...body } }, url);
      const gpu = { kind: 'TPU', memoryGiB: 16, count: 1 };
      const answers = [
        await as('auditor', 'GET', '/v1/revisions/0123456789ab/manifests'),
        await as('auditor', 'GET', '/v1/revisions/0123/manifests'),
        await post({ runtime }),
        await post({ model, runtime: { ...runtime, gpu } }),
        await post({ model, runtime: { ...runtime, flags: { port: 1 } } }),
        await post({ model, runtime: { ...runtime, gpu: { ...gpu, kind: 'L4-24GB' } } }, fixture.replica.url),
      ];
      assert.deepEqual(
        answers.map(({ status, body }) => [status, body.error?.field]),
        [
          [404, 'revision'],
          [422, 'digest'],
          [422, 'model'],
          [422, 'runtime.gpu.kind'],
          [422, 'runtime.flags.port'],
          [422, 'runtime.image'],
        ],
      );
      for (const { body } of answers) assert.ok(body.error?.remedy, JSON.stringify(body));
    });

    it('tell that the settings are the default ones, where nobody said what the cluster is like', async () => {
      const { model, runtime } = spec('unborn');
      const image = `vllm/vllm-openai@sha256:${'1'.repeat(64)}`;
      const gpu = { kind: 'L4-24GB', memoryGiB: 24, count: 1 };
      const body = { application: 'unborn', model, runtime: { ...runtime, gpu, image } };
      const answer = await as('engineer', 'POST', '/v1/manifests', { body }, fixture.replica.url);
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      assert.equal(answer.body.settings, 'default');
      assert.match((answer.body.notes as unknown as string[]).join(), /SLIPWAY_CLUSTER_FILE/);
    });
  });

  describe('deciding', () => {
    it('signs off what stands, by somebody else than the requester (invariant 7)', async () => {
      const id = await start('signed');
      const early = await as('approver', 'POST', `/v1/releases/${id}/reject`, { body: {} });
      if (early.status !== 200) assert.equal(early.body.error?.code, 'DECISION_REFUSED');
      const id2 = early.status === 200 ? await start('signed2') : id;
      const view = await until(id2, inStage('sign-off'));
      const approve = (body: object, key?: string) =>
        as('approver', 'POST', `/v1/releases/${id2}/approve`, { body, ...(key ? { key } : {}) });
      const right = { revision: view.candidate, evidence: view.evidence };

      const other = `sha256:${'0'.repeat(64)}`;
      for (const stale of [
        { ...right, revision: other },
        { ...right, evidence: other },
      ]) {
        const answer = await approve(stale);
        assert.deepEqual([answer.status, answer.body.error?.code], [409, 'SIGN_OFF_STALE']);
      }
      const self: ApiKey = { name: 'engineer', role: 'approver' };
      const key = newKey();
      await saveApiKey(fixture.db, key, self);
      const own = await approve(right, key);
      assert.deepEqual([own.status, own.body.error?.code], [403, 'SIGN_OFF_BY_REQUESTER']);

      assert.equal((await approve(right)).status, 200);
      const ended = await until(id2, (v) => v.endedAt !== null);
      assert.equal(ended.stage, 'done');
      assert.equal(ended.phase, 'Healthy');
      const late = await approve(right);
      assert.deepEqual([late.status, late.body.error?.code], [409, 'DECISION_REFUSED']);
    });

    it('pauses and resumes, and refuses to do either twice', async () => {
      await install('held');
      const id = await start('held', { prompt: 'answers@2' });
      // Its canary is short: whoever looks late finds the gate waiting for a verdict.
      await until(id, ({ stage }) => stage === 'canary' || stage === 'deciding');
      const decide = (name: string) =>
        as('engineer', 'POST', `/v1/releases/${id}/${name}`, { body: { reason: 'lunch' } });
      const paused = await decide('pause');
      assert.deepEqual([paused.status, paused.body.phase], [200, 'Paused']);
      assert.match(String(paused.body.reason), /paused by engineer: lunch/);
      assert.equal((await decide('pause')).body.error?.code, 'DECISION_REFUSED');
      assert.equal((await decide('resume')).status, 200);
      assert.equal((await decide('resume')).body.error?.code, 'DECISION_REFUSED');
      await decide('abort');
    });

    it('aborts; twice is once', async () => {
      const id = await start('aborted');
      const abort = () => as('engineer', 'POST', `/v1/releases/${id}/abort`, { body: { reason: 'enough' } });
      const [first, second] = [await abort(), await abort()];
      assert.equal(first.status, 200);
      assert.equal(second.status, 200);
      const view = await until(id, inStage('rolled-back'));
      assert.equal(view.reason, 'aborted by engineer: enough');
      const { body } = await as('auditor', 'GET', `/v1/releases/${id}/explain`);
      const story = body.story as unknown as { text: string }[];
      assert.equal(story.filter(({ text }) => text.startsWith('Rolling back')).length, 1);
      assert.equal((await abort()).status, 200, 'also when it has ended');
    });
  });

  describe('watching', () => {
    async function* events(id: string, lastEventId?: string) {
      const response = await fetch(`${fixture.replica.url}/v1/releases/${id}/watch`, {
        headers: {
          authorization: `Bearer ${fixture.keys.auditor}`,
          ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
        },
      });
      assert.equal(response.status, 200);
      document.check('GET', `/v1/releases/${id}/watch`, 200, response.headers.get('content-type'), '');
      assert.ok(response.body);
      yield* response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
    }

    it('tells the story as it happens, what is waited for, and the end; and resumes', async () => {
      await install('watched');
      fixture.world.verdict = null;
      const id = await start('watched', { prompt: 'answers@2' });
      const seen: { event: string | undefined; id: string | undefined; data: string }[] = [];
      for await (const event of events(id)) {
        seen.push({ event: event.event, id: event.id, data: event.data });
        if (event.event === 'pending' && event.data.includes('412 of 1000 samples'))
          fixture.world.verdict = 'promote';
        if (event.event === 'story' && event.data.includes('Waiting for a sign-off')) await signOff(id);
      }
      assert.equal(seen.at(-1)?.event, 'end');
      const end = JSON.parse(seen.at(-1)?.data ?? '') as { stage: string; samples: unknown };
      assert.equal(end.stage, 'done');
      assert.deepEqual(end.samples, { stable: { samples: 0, users: 0 }, canary: { samples: 0, users: 0 } });
      const pending = seen.filter(({ event }) => event === 'pending').map(({ data }) => data);
      assert.ok(pending.some((data) => data.includes('"code":"NOT_YET"')));
      const story = seen.filter(({ event }) => event === 'story');
      assert.deepEqual(
        story.map((line) => line.id),
        story.map((_, index) => String(index + 1)),
      );
      const { body } = await as('auditor', 'GET', `/v1/releases/${id}/explain`);
      assert.deepEqual(
        story.map(({ data }) => JSON.parse(data)),
        body.story,
      );

      const resumed = [];
      for await (const event of events(id, '3')) resumed.push(event);
      assert.deepEqual(
        resumed.filter(({ event }) => event === 'story').map((line) => line.id),
        story.slice(3).map((line) => line.id),
      );
      fixture.world.verdict = null;
    });

    it('a watcher that leaves does not keep the API', async () => {
      const id = await start('left');
      const stream = events(id);
      await stream.next();
      await stream.return(undefined);
      await as('engineer', 'POST', `/v1/releases/${id}/abort`, { body: {} });
    });
  });

  describe('the evidence', () => {
    it('shows plan and looks, page by page, and says that there is no verdict yet', async () => {
      const id = await start('judged');
      const plan = planGate(defaultGatePolicy, null);
      await savePlan(fixture.db, id, plan);
      const verification = await as('auditor', 'GET', `/v1/releases/${id}/verification`);
      assert.deepEqual([verification.status, verification.body.error?.code], [404, 'NOT_FOUND']);
      for (const second of [1, 2, 3]) {
        const at = new Date(Date.UTC(2026, 0, 5, 0, 0, second));
        await saveLook(fixture.db, id, { kind: second === 2 ? 'guards' : 'gate', at, look: { second } });
      }
      const shown = await as('auditor', 'GET', `/v1/releases/${id}/evidence`);
      assert.deepEqual([shown.status, shown.body.verdicts], [200, []]);
      assert.equal((shown.body.plan as unknown as { plan: { version: number } }).plan.version, 1);

      const seconds = async (query: string) => {
        const { body } = await as('auditor', 'GET', `/v1/releases/${id}/looks?${query}`);
        const page = body as unknown as { looks: { look: { second: number } }[]; next: string | null };
        return { seconds: page.looks.map(({ look }) => look.second), next: page.next };
      };
      const first = await seconds('limit=2');
      assert.deepEqual(first.seconds, [1, 2]);
      assert.deepEqual(await seconds(`limit=2&after=${encodeURIComponent(first.next ?? '')}`), {
        seconds: [3],
        next: null,
      });
      assert.deepEqual((await seconds('kind=guards')).seconds, [2]);
    });

    it('plans a policy for an application, and refuses a wrong one', async () => {
      const plan = (policy: object) =>
        as('auditor', 'POST', '/v1/gate/plan', { body: { application: 'judged', policy } });
      const made = await plan({});
      assert.equal(made.status, 200);
      assert.equal((made.body.plan as unknown as { policy: { weight: number } }).policy.weight, 0.1);
      const refused = await plan({ gate: { horizons: ['1d'] } });
      assert.deepEqual(
        [refused.status, refused.body.error?.code, refused.body.error?.field],
        [422, 'POLICY_INVALID', 'policy.gate.horizons[0]'],
      );
    });

    it('plans for no application that has had no release', async () => {
      const body = { application: 'juged', policy: {} };
      const { status, body: answer } = await as('auditor', 'POST', '/v1/gate/plan', { body });
      assert.deepEqual(
        [status, answer.error?.code, answer.error?.field, answer.error?.value],
        [404, 'APPLICATION_NOT_FOUND', 'application', 'juged'],
      );
    });
  });

  describe('without a worker', () => {
    it('shows all of a release that has ended', async () => {
      const id = await install('through');
      await fixture.client.workflow.getHandle(`release:${id}`).result();
      const read = async () => (await as('auditor', 'GET', `/v1/releases/${id}/explain`)).body;
      const before = await read();
      await fixture.stopWorker();
      try {
        assert.deepEqual(await read(), before);
        const { release, story } = before as unknown as {
          release: Answer['body'];
          story: { stage: string; text: string }[];
        };
        assert.deepEqual([release.live, release.stage, release.evidence], [true, 'done', evidence]);
        assert.ok(story.some(({ text }) => text.startsWith('Signed off by approver')));
        assert.equal(story.at(-1)?.stage, 'done');
      } finally {
        await fixture.startWorker();
      }
    });

    it('shows what the store has, records an abort, and accepts a release for later', async () => {
      const id = await start('alone');
      await until(id, inStage('sign-off'));
      await fixture.stopWorker();
      let later = '';
      try {
        const { body } = await as('auditor', 'GET', `/v1/releases/${id}`);
        assert.deepEqual([body.live, body.application, body.weight], [false, 'alone', null]);
        const story = await as('auditor', 'GET', `/v1/releases/${id}/explain`);
        assert.equal(story.status, 200, JSON.stringify(story.body));
        assert.ok((story.body.story as unknown as unknown[]).length > 0);
        const queue = (more: object) =>
          as('engineer', 'POST', '/v1/releases', {
            body: spec('queued', more),
            headers: { 'idempotency-key': 'queued' },
          });
        const [paused, aborted, queued] = await Promise.all([
          as('engineer', 'POST', `/v1/releases/${id}/pause`, { body: {} }),
          as('engineer', 'POST', `/v1/releases/${id}/abort`, { body: {} }),
          queue({}),
        ]);
        assert.deepEqual([paused.status, paused.body.error?.code], [503, 'DEPENDENCY_UNAVAILABLE']);
        assert.deepEqual([aborted.status, aborted.body.recorded], [202, true]);
        assert.deepEqual([queued.status, queued.body.registered], [202, false]);
        const other = await queue({ prompt: 'answers@2' });
        assert.deepEqual([other.status, other.body.error?.code], [409, 'RELEASE_KEY_REUSED']);
        later = String(queued.body.release);
      } finally {
        await fixture.startWorker();
      }
      await until(id, inStage('rolled-back'));
      await until(later, inStage('sign-off'));
    });
  });

  it('exercised every route of its document', () => {
    assert.deepEqual([...document.exercised].toSorted(), document.routes.toSorted());
  });

  it('logged no key and no prompt text (invariant 13)', () => {
    const text = fixture.logs.join('');
    assert.ok(text.includes('release started'));
    for (const secret of [...Object.values(fixture.keys), secretText, 'Bearer'])
      assert.ok(!text.includes(secret), secret);
  });
});
