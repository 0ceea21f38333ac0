import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  kindsOfServing,
  labelValue,
  metadataOf,
  podLabels,
  selectorOf,
  servingsSelector,
} from '../../../domain/kubernetes/objects.ts';
import { imageDigest, wanted } from './cases.ts';

test('any text becomes a value that a label takes, and one that it takes stays', () => {
  const valid = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;
  fc.assert(fc.property(fc.string({ maxLength: 100 }), (text) => assert.match(labelValue(text), valid)));
  fc.assert(fc.property(fc.stringMatching(valid), (text) => assert.equal(labelValue(text), text)));
  assert.equal(labelValue(`${'a'.repeat(62)}-b`), 'a'.repeat(62));
});

test('labels say whose an object is; a release longer than a label is whole in the annotation', () => {
  const release = `${'a'.repeat(63)}-k3v9x2m7qa`;
  const origin = { application: 'a', release, revision: imageDigest };
  const { name, labels, annotations } = metadataOf(wanted({ origin }), 'slipway');
  const digest = wanted().digest;
  assert.equal(name, `slipway-${digest.slice(7, 19)}`);
  assert.deepEqual(labels, {
    'app.kubernetes.io/managed-by': 'slipway',
    'app.kubernetes.io/component': 'serving',
    'app.kubernetes.io/name': 'vllm',
    'slipway.dev/serving': digest.slice(7, 19),
    'slipway.dev/application': 'a',
    'slipway.dev/release': 'a'.repeat(63),
    'slipway.dev/revision': '0123456789ab',
  });
  assert.equal(annotations?.['slipway.dev/release'], release);
  assert.equal(annotations?.['slipway.dev/serving-digest'], digest);
});

test('selectors find every object and pod of the serving', () => {
  const serving = wanted({ origin: { application: 'a', release: 'r', revision: imageDigest } });
  for (const labels of [metadataOf(serving, 'slipway').labels, podLabels(serving)]) {
    for (const term of `${servingsSelector},${selectorOf(serving.digest)}`.split(',')) {
      const [key = '', value] = term.split('=');
      assert.equal(labels[key], value, term);
    }
  }
});

test('a kind says its group', () => {
  const groups = Object.fromEntries(kindsOfServing.map(({ kind, group }) => [kind, group]));
  assert.equal(groups.Service, '');
  assert.equal(groups.Deployment, 'apps');
  assert.equal(groups.ScaledObject, 'keda.sh');
});
