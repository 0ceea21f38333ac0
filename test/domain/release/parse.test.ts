import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SlipwayError } from '../../../domain/errors.ts';
import {
  isPath,
  parseReleaseFile,
  type ReleaseRequest,
  releaseRequestSchema,
  releaseSpecOf,
  requestToJson,
} from '../../../domain/release/parse.ts';
import { validate } from '../../../domain/validation.ts';

const request = {
  application: 'support-answers',
  prompt: 'support-answers@2',
  goldenSet: 'support-questions@1',
  guardrails: 'support@1',
  model: {
    name: 'meta-llama/Llama-3.1-8B-Instruct',
    architecture: { layers: 32, kvHeads: 8, headDim: 128, kvBytes: 2, weightsGiB: 15 },
    price: { inputPerMillion: 0.1, outputPerMillion: 0.2 },
  },
  runtime: {
    flags: { 'max-model-len': 8192, 'enable-prefix-caching': true },
    gpu: { kind: 'L4', memoryGiB: 24, count: 1 },
    concurrency: 8,
    replicas: 1,
  },
  policy: { canary: { weight: 0.2 }, baking: { duration: '1h' } },
};

function accept(value: unknown): ReleaseRequest {
  return validate(releaseRequestSchema, value, 'INPUT_INVALID');
}

function refusal(run: () => unknown): SlipwayError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof SlipwayError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: 'accepted' });
}

test('a request becomes a spec with a whole policy', () => {
  const spec = releaseSpecOf(accept(request));
  assert.equal(spec.policy.evaluation.goldenSet, 'support-questions@1');
  assert.equal(spec.policy.canary.weight, 0.2);
  assert.equal(spec.policy.baking.duration, 3_600_000);
  assert.equal(spec.policy.gate.minSamples, 1000);
  assert.equal('goldenSet' in spec, false);
});

test('a request goes over the wire as it was written', () => {
  assert.deepEqual(requestToJson(accept(request)), request);
});

const refused: [change: object, code: string, field: string, value: unknown, remedy: RegExp][] = [
  [{ application: 'Support Answers' }, 'INPUT_INVALID', 'application', 'Support Answers', /lower case/],
  [{ application: undefined }, 'INPUT_INVALID', 'application', undefined, /./],
  [{ prompt: 'support-answers' }, 'INPUT_INVALID', 'prompt', 'support-answers', /name@n/],
  [{ prompt: 'support-answers@0' }, 'INPUT_INVALID', 'prompt', 'support-answers@0', /name@n/],
  [{ rollback: 'sha256:12' }, 'INPUT_INVALID', 'rollback', 'sha256:12', /64 hex/],
  [{ webhook: 'file:///etc/passwd' }, 'INPUT_INVALID', 'webhook', 'file:///etc/passwd', /http/],
  [{ weight: 0.2 }, 'INPUT_INVALID', 'weight', 0.2, /application, prompt/],
  [{ policy: { canary: { weight: 2 } } }, 'POLICY_INVALID', 'policy.canary.weight', 2, /at most 0.5/],
  [{ policy: { canari: {} } }, 'POLICY_INVALID', 'policy.canari', {}, /canary/],
  [
    { policy: { promotion: { steps: [0.1, 1] } } },
    'POLICY_INVALID',
    'policy.promotion.steps[0]',
    0.1,
    /rising/,
  ],
  [{ goldenSet: undefined }, 'POLICY_INVALID', 'policy.evaluation.goldenSet', undefined, /name@n/],
  [flags({ '--port': 80 }), 'INPUT_INVALID', 'runtime.flags.--port', 80, /leading dashes/],
  [flags({ max_model_len: 80 }), 'INPUT_INVALID', 'runtime.flags.max_model_len', 80, /max-model-len/],
  [flags({ port: 80 }), 'INPUT_INVALID', 'runtime.flags.port', undefined, /Remove/],
  [flags({ 'api-key': 'secret' }), 'INPUT_INVALID', 'runtime.flags.api-key', undefined, /Remove/],
  [flags({ 'max-model-len': -1 }), 'INPUT_INVALID', 'runtime.flags.max-model-len', -1, /8192/],
  [flags({ 'gpu-memory-utilization': 9 }), 'INPUT_INVALID', 'runtime.flags.gpu-memory-utilization', 9, /0.9/],
  [
    { runtime: { ...request.runtime, gpu: { kind: 'L4', memoryGiB: 24, count: 0 } } },
    'INPUT_INVALID',
    'runtime.gpu.count',
    0,
    /at least 1/,
  ],
  [
    { model: { ...request.model, price: { inputPerMillion: -1, outputPerMillion: 1 } } },
    'INPUT_INVALID',
    'model.price.inputPerMillion',
    -1,
    /at least 0/,
  ],
];

function flags(more: Record<string, unknown>): object {
  return { runtime: { ...request.runtime, flags: { ...request.runtime.flags, ...more } } };
}

for (const [change, code, field, value, remedy] of refused) {
  test(`refused: ${JSON.stringify(change)}`, () => {
    const error = refusal(() => releaseSpecOf(accept({ ...request, ...change })));
    assert.equal(error.code, code);
    assert.equal(error.details.field, field);
    assert.deepEqual(error.details.value, value);
    assert.match(error.details.remedy ?? '', remedy);
    assert.doesNotMatch(JSON.stringify(error), /secret/);
  });
}

const file = `
application: support-answers
prompt: ./prompts/v2.md
goldenSet: ../golden.yaml
guardrails: support@1
model:
  name: meta-llama/Llama-3.1-8B-Instruct
  config: ./config.json
  weightsGiB: 15
  price: { inputPerMillion: .1, outputPerMillion: .2 }
runtime:
  flags: { max-model-len: 8192 }
  gpu: { kind: L4, memoryGiB: 24, count: 1 }
  concurrency: 8
  replicas: 1
policy: ./policy.yaml
`;

test('a release file may name files, pushed versions, or both', () => {
  const parsed = parseReleaseFile(file);
  assert.equal(parsed.prompt, './prompts/v2.md');
  assert.equal(parsed.guardrails, 'support@1');
  assert.equal(parsed.policy, './policy.yaml');
  assert.equal(parsed.model?.config, './config.json');
});

test('a release file may hold its policy', () => {
  const parsed = parseReleaseFile('{ application: a, prompt: p@1, policy: { baking: { duration: 1h } } }');
  assert.deepEqual(parsed.policy, { baking: { duration: 3_600_000 } });
});

const refusedFiles: [yaml: string, code: string, field: string, remedy: RegExp][] = [
  [file.replace('./prompts/v2.md', 'prompts/v2.md'), 'INPUT_INVALID', 'prompt', /\.\//],
  [file.replace('  config: ./config.json\n', ''), 'INPUT_INVALID', 'model', /config/],
  [file.replace('price:', 'prise:'), 'INPUT_INVALID', 'model.price', /Give/],
  [
    file.replace('./policy.yaml', '{ canary: { weight: 2 } }'),
    'POLICY_INVALID',
    'policy.canary.weight',
    /0.5/,
  ],
  [file.replace('./policy.yaml', '7'), 'INPUT_INVALID', 'policy', /./],
  ['application: [', 'INPUT_INVALID', 'line 1, column 15', /YAML/],
  ['', 'INPUT_INVALID', '', /./],
];

for (const [yaml, code, field, remedy] of refusedFiles) {
  test(`refused file: ${field || 'empty'} ${code}`, () => {
    const error = refusal(() => parseReleaseFile(yaml));
    assert.equal(error.code, code);
    assert.equal(error.details.field, field);
    assert.match(error.details.remedy ?? '', remedy);
  });
}

test('paths begin with a slash or dots', () => {
  assert.deepEqual(['./a', '../a', '/a', 'a@1', 'a/b', '.a', '...'].map(isPath), [
    true,
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});
