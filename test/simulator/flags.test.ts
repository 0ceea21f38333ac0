import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseFlags, UsageError } from '../../simulator/flags.ts';

const refused = (args: string[], message: RegExp) =>
  assert.throws(
    () => parseFlags(args),
    (error) => error instanceof UsageError && message.test(error.message),
  );

describe('command line', () => {
  it('takes flags with a space or an equals sign, dashes or underscores, and the model by position or by flag', () => {
    const expected = { model: 'm', 'max-model-len': 8192, 'gpu-memory-utilization': 0.9, port: 8001 };
    for (const args of [
      ['serve', 'm', '--max-model-len', '8192', '--gpu-memory-utilization', '0.9', '--port', '8001'],
      ['--model=m', '--max-model-len=8192', '--gpu-memory-utilization=0.9', '--port=8001'],
      ['serve', '--max_model_len', '8192', '--gpu_memory_utilization=.9', '--port', '8001', '--model', 'm'],
    ]) {
      assert.deepEqual(parseFlags(args), expected);
    }
  });

  it('takes switches, their --no- form, lists, short names and sizes with a suffix', () => {
    assert.deepEqual(
      parseFlags([
        'serve',
        'm',
        '--enable-prefix-caching',
        '--no-enable-chunked-prefill',
        '--served-model-name',
        'one',
        'two',
        '-tp',
        '4',
        '--max-model-len',
        '8K',
        '--max-num-batched-tokens=8k',
      ]),
      {
        model: 'm',
        'enable-prefix-caching': true,
        'enable-chunked-prefill': false,
        'served-model-name': ['one', 'two'],
        'tensor-parallel-size': 4,
        'max-model-len': 8192,
        'max-num-batched-tokens': 8000,
      },
    );
  });

  it('takes flags of vLLM that mean nothing here', () => {
    assert.deepEqual(parseFlags(['serve', 'm', '--swap-space', '4', '--enforce-eager', '--seed=7']), {
      model: 'm',
    });
  });

  it('refuses what argparse would refuse, in its words', () => {
    refused(['serve', 'm', '--max-modell-len', '8'], /^unrecognized arguments: --max-modell-len 8$/);
    refused(['serve', 'm', 'n'], /^unrecognized arguments: n$/);
    refused(['serve', 'm', '--no-max-model-len'], /^unrecognized arguments: --no-max-model-len$/);
    refused(['serve', 'm', '--max-model-len'], /^argument --max-model-len: expected one argument$/);
    refused(['serve', 'm', '--max-model-len', '--port', '1'], /expected one argument$/);
    refused(['serve', 'm', '--max-num-seqs', 'many'], /^argument --max-num-seqs: invalid int value: 'many'$/);
    refused(['serve', 'm', '--port', '80.5'], /^argument --port: invalid int value: '80\.5'$/);
    refused(['serve', 'm', '--gpu-memory-utilization='], /invalid float value: ''$/);
    refused(['serve', 'm', '--kv-cache-dtype', 'int3'], /invalid choice: 'int3' \(choose from 'auto'/);
    refused(['serve', 'm', '--enable-prefix-caching=yes'], /ignored explicit argument 'yes'$/);
    refused(['serve', 'm', '--served-model-name'], /expected at least one argument$/);
  });
});
