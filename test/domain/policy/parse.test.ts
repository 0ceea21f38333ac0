import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SlipwayError } from '../../../domain/errors.ts';
import { completePolicy, parsePolicy, policyToJson } from '../../../domain/policy/parse.ts';
import { defaultPolicy } from '../../../domain/policy/policy.ts';
import { policySchema } from '../../../domain/policy/schema.ts';

const DAY = 86_400_000;

function refusal(yaml: string): SlipwayError {
  try {
    parsePolicy(yaml);
  } catch (error) {
    assert.ok(error instanceof SlipwayError, String(error));
    return error;
  }
  throw new assert.AssertionError({ message: `accepted: ${yaml}` });
}

test('an empty file is the default policy', () => {
  assert.deepEqual(parsePolicy(''), defaultPolicy);
  assert.deepEqual(parsePolicy('{}'), defaultPolicy);
});

test('what the file says stands over the default, lists replace', () => {
  const policy = parsePolicy(`
canary: { weight: .2, minDuration: 14d }
gate:
  horizons: [14d, 21d]
  alpha: { harm: .01 }
promotion: { steps: [.5, 1] }
`);
  assert.equal(policy.canary.weight, 0.2);
  assert.equal(policy.canary.minDuration, 14 * DAY);
  assert.equal(policy.canary.maxAge, defaultPolicy.canary.maxAge);
  assert.deepEqual(policy.gate.horizons, [14 * DAY, 21 * DAY]);
  assert.deepEqual(policy.gate.alpha, { harm: 0.01, nonInferiority: 0.05 });
  assert.deepEqual(policy.promotion, { steps: [0.5, 1], hold: defaultPolicy.promotion.hold });
  assert.deepEqual(policy.baking, defaultPolicy.baking);
});

/** Each refused policy, with the field that the error must name, the value it must show and a word of its remedy. */
const refused: [yaml: string, field: string, value: unknown, remedy: RegExp][] = [
  ['canary: { weight: 1.5 }', 'canary.weight', 1.5, /at most 0.5/],
  ['canary: { weight: 0 }', 'canary.weight', 0, /more than 0/],
  ['canary: { weight: -0.1 }', 'canary.weight', -0.1, /more than 0/],
  ['canary: { weight: .6 }', 'canary.weight', 0.6, /at most 0.5/],
  ['canary: { weight: .nan }', 'canary.weight', Number.NaN, /number/],
  ['canary: { weight: ten }', 'canary.weight', 'ten', /number/],
  ['canary: { wieght: .1 }', 'canary.wieght', 0.1, /weight/],
  ['canaries: { weight: .1 }', 'canaries', { weight: 0.1 }, /canary/],
  ['canary: { minDuration: 7 days }', 'canary.minDuration', '7 days', /7d/],
  ['canary: { minDuration: 604800 }', 'canary.minDuration', 604800, /7d/],
  ['canary: { guardWindow: 0s }', 'canary.guardWindow', '0s', /more than 0/],
  ['canary: { scoredShare: 1.1 }', 'canary.scoredShare', 1.1, /at most 1/],
  ['canary: { scoredShare: 0 }', 'canary.scoredShare', 0, /more than 0/],
  ['canary: { maxAge: 1m }', 'canary.maxAge', '1m', /5m/],
  [
    'canary: { guards: [{ metric: error, ratio: 1, plus: 1 }] }',
    'canary.guards[0].metric',
    'error',
    /errors/,
  ],
  [
    'canary: { guards: [{ metric: errors, ratio: .9, plus: 1 }] }',
    'canary.guards[0].ratio',
    0.9,
    /at least 1/,
  ],
  ['canary: { guards: [{ metric: errors, ratio: 1, plus: -1 }] }', 'canary.guards[0].plus', -1, /at least 0/],
  [
    'canary: { guards: [{ metric: errors, ratio: 1, plus: 0 }] }',
    'canary.guards[0]',
    { metric: 'errors', ratio: 1, plus: 0 },
    /above/,
  ],
  [
    'canary: { guards: [{ metric: errors, ratio: 2, plus: 0 }, { metric: errors, ratio: 3, plus: 0 }] }',
    'canary.guards[1].metric',
    'errors',
    /one guard/,
  ],
  ['gate: { horizons: [7d, 7d] }', 'gate.horizons[1]', '7d', /rising/],
  ['gate: { horizons: [14d, 7d] }', 'gate.horizons[1]', '7d', /rising/],
  ['gate: { horizons: [6d] }', 'gate.horizons[0]', '6d', /7d/],
  ['gate: { horizons: [10d, 17d] }', 'gate.horizons[0]', '10d', /Give 14d/],
  ['gate: { horizons: [7d, 17d] }', 'gate.horizons[1]', '17d', /Give 21d/],
  ['gate: { horizons: [1d], stratum: 1h }', 'gate.horizons[0]', '1d', /Give 7d/],
  ['gate: { horizons: [169h] }', 'gate.horizons[0]', '169h', /Give 14d/],
  ['gate: { stratum: 5h }', 'gate.horizons[0]', '7d', /multiple of gate.stratum, 5h/],
  ['gate: { stratum: 2d }', 'gate.stratum', '2d', /Give 1d/],
  ['gate: { stratum: 7d }', 'gate.stratum', '7d', /Give 1d/],
  ['gate: { horizons: [] }', 'gate.horizons', [], /at least 1/],
  ['gate: { lookEvery: 7d }', 'gate.lookEvery', '7d', /less than 7d/],
  [`canary: { minDuration: 1h }\ngate: { horizons: [1h, 2h], stratum: 2h }`, 'gate.stratum', '2h', /1h/],
  ['gate: { alpha: { harm: 0 } }', 'gate.alpha.harm', 0, /more than 0/],
  ['gate: { alpha: { harm: 1 } }', 'gate.alpha.harm', 1, /less than 1/],
  ['gate: { alpha: { nonInferiority: 5 } }', 'gate.alpha.nonInferiority', 5, /less than 1/],
  ['gate: { power: 1 }', 'gate.power', 1, /less than 1/],
  ['gate: { minSamples: 0 }', 'gate.minSamples', 0, /at least 1/],
  ['gate: { minUsers: 2.5 }', 'gate.minUsers', 2.5, /./],
  ['gate: { metrics: [] }', 'gate.metrics', [], /at least 1/],
  [metric('latency', 'lower', 0, 'p95'), 'gate.metrics[0].margin', 0, /more than 0/],
  [metric('latency', 'lower', -0.1, 'p95'), 'gate.metrics[0].margin', -0.1, /more than 0/],
  [metric('latency', 'higher', 0.1, 'p95'), 'gate.metrics[0].direction', 'higher', /lower/],
  [metric('latency', 'lower', 0.1, 'absolute'), 'gate.metrics[0].scale', 'absolute', /p95/],
  [metric('cost', 'lower', 0.1, 'p95'), 'gate.metrics[0].scale', 'p95', /by log-mean$/],
  [metric('cost', 'lower', 0.1, 'absolute'), 'gate.metrics[0].scale', 'absolute', /by log-mean, with/],
  [metric('error', 'lower', 0.1, 'log-mean'), 'gate.metrics[0].scale', 'log-mean', /absolute/],
  [metric('error', 'lower', 1, 'absolute'), 'gate.metrics[0].margin', 1, /below 1/],
  [metric('errors', 'lower', 0.1, 'absolute'), 'gate.metrics[0].metric', 'errors', /error, violation/],
  [metric('"quality:"', 'higher', 0.1, 'absolute'), 'gate.metrics[0].metric', 'quality:', /evaluator/],
  ['signOff: { timeout: 0d }', 'signOff.timeout', '0d', /more than 0/],
  ['signOff: { required: "no" }', 'signOff.required', 'no', /boolean/],
  ['promotion: { steps: [.5, .25, 1] }', 'promotion.steps[1]', 0.25, /rising/],
  ['promotion: { steps: [.1, 1] }', 'promotion.steps[0]', 0.1, /rising/],
  ['promotion: { steps: [.25, .5] }', 'promotion.steps[1]', 0.5, /last step 1/],
  ['promotion: { steps: [.25, 1.5] }', 'promotion.steps[1]', 1.5, /at most 1/],
  ['promotion: { steps: [] }', 'promotion.steps', [], /at least 1/],
  ['evaluation: { minAccuracy: 1 }', 'evaluation.minAccuracy', 1, /less than 1/],
  ['evaluation: { goldenSet: questions }', 'evaluation.goldenSet', 'questions', /name@n/],
  ['evaluation: { maxP95: 5 }', 'evaluation.maxP95', 5, /90s/],
  ['7', '', 7, /object/],
  ['canary: { weight: .1 }\ncanary: { weight: .2 }', 'line 2, column 1', undefined, /there/],
  ['canary: { weight', 'line 1, column 17', undefined, /there/],
];

function metric(name: string, direction: string, margin: number, scale: string): string {
  return `gate: { metrics: [{ metric: ${name}, direction: ${direction}, margin: ${margin}, scale: ${scale}, role: guard }] }`;
}

for (const [yaml, field, value, remedy] of refused) {
  test(`refused: ${yaml}`, () => {
    const error = refusal(yaml);
    assert.equal(error.code, 'POLICY_INVALID');
    assert.equal(error.details.field, field);
    assert.deepEqual(error.details.value, value);
    assert.match(error.details.remedy ?? '', remedy);
    assert.ok(error.message.includes(field) || field.startsWith('line') || field === '', error.message);
  });
}

test('horizons of less than a day are free, for demonstrations and tests; a stratum may be as long as the first', () => {
  const { gate } = parsePolicy(
    'canary: { minDuration: 75s }\ngate: { horizons: [75s, 150s, 20h, 7d], stratum: 75s, lookEvery: 5s }',
  );
  assert.deepEqual(gate.horizons, [75_000, 150_000, 20 * 3_600_000, 7 * DAY]);
});

test('a metric is judged once on each scale', () => {
  const p95 = { metric: 'latency', direction: 'lower', margin: 0.1, scale: 'p95', role: 'guard' };
  const yaml = (second: object) => JSON.stringify({ gate: { metrics: [p95, second] } });
  assert.equal(parsePolicy(yaml({ ...p95, scale: 'log-mean' })).gate.metrics.length, 2);
  assert.equal(refusal(yaml({ ...p95, margin: 0.2 })).details.field, 'gate.metrics[1]');
});

test('a long value is named and not echoed', () => {
  const { details, message } = refusal(`canary: { weight: ${'secret '.repeat(40)} }`);
  assert.equal(details.field, 'canary.weight');
  assert.equal(details.value, undefined);
  assert.doesNotMatch(message, /secret/);
});

test('several problems are counted', () => {
  assert.match(refusal('canary: { weight: 2, maxAge: never }').message, /and 1 more/);
});

test('the golden set is named once', () => {
  const draft = parsePolicy('');
  assert.throws(() => completePolicy(draft), {
    code: 'POLICY_INVALID',
    message: /evaluation.goldenSet is missing/,
  });
  assert.equal(completePolicy(draft, 'questions@1').evaluation.goldenSet, 'questions@1');
  const naming = parsePolicy('evaluation: { goldenSet: questions@2 }');
  assert.equal(completePolicy(naming).evaluation.goldenSet, 'questions@2');
  assert.equal(completePolicy(naming, 'questions@2').evaluation.goldenSet, 'questions@2');
  assert.throws(() => completePolicy(naming, 'questions@1'), { code: 'POLICY_INVALID', message: /differs/ });
});

test('a policy as people write it reads back as the same policy', () => {
  const policy = completePolicy(parsePolicy(''), 'questions@1');
  const written = policyToJson(policy) as { gate: { horizons: string[] } };
  assert.deepEqual(written.gate.horizons, ['7d', '14d', '21d', '28d']);
  assert.deepEqual(policySchema.parse(written), policy);
});
