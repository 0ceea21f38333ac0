import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCommand } from '../../../adapters/serving/command.ts';
import { remedyFor } from '../../../adapters/serving/diagnosis.ts';
import { SlipwayError } from '../../../domain/errors.ts';

test('a command is words, or a JSON array where a word holds a space', () => {
  assert.deepEqual(parseCommand(' vllm '), ['vllm']);
  assert.deepEqual(parseCommand('python -m vllm'), ['python', '-m', 'vllm']);
  assert.deepEqual(parseCommand('["/opt/my vllm","--log"]'), ['/opt/my vllm', '--log']);
  for (const bad of ['', '  ', '[]', '[1]', '["a"', '[""]']) {
    assert.throws(
      () => parseCommand(bad),
      (error) => error instanceof SlipwayError && error.details.field === 'SLIPWAY_VLLM_COMMAND',
      bad,
    );
  }
});

test('what the log says has a remedy', () => {
  const remedies: [string, RegExp][] = [
    ['torch.OutOfMemoryError: CUDA out of memory. Tried to allocate', /more GPUs/],
    ['ValueError: No available memory for the cache blocks.', /Lower --max-model-len/],
    ["The model's max seq len (32768) is larger than the maximum number of tokens", /Lower --max-model-len/],
    ['vllm serve: error: unrecognized arguments: --bogus', /runtime\.flags/],
    ['401 Client Error. Access to model is restricted, gated repo', /HF_TOKEN/],
    ['Segmentation fault', /^Read the log$/],
  ];
  for (const [log, remedy] of remedies) assert.match(remedyFor(log, 'the log'), remedy);
});
