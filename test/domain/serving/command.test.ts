import assert from 'node:assert/strict';
import { test } from 'node:test';
import { vllmArguments } from '../../../domain/serving/command.ts';
import { exampleServing } from '../../support/servings.ts';

test('the same runtime gives the same command line, in whatever order its flags were written', () => {
  const address = { host: '127.0.0.1', port: 8000 };
  const one = exampleServing(1, { 'max-num-seqs': 8, 'enable-prefix-caching': true });
  const flags = { enable_prefix_caching: true, max_num_seqs: 8, 'max-model-len': 8192 };
  const other = { ...one, runtime: { ...one.runtime, flags } };
  assert.deepEqual(vllmArguments(one, address), vllmArguments(other, address));
});
