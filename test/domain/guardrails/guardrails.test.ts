import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  guardrailsDigest,
  parseGuardrailsContent,
  parseGuardrailsFile,
} from '../../../domain/guardrails/guardrails.ts';

test('a config names checks of input and output, each with settings of its own', () => {
  assert.deepEqual(parseGuardrailsFile('name: strict\ninput: [{type: pii, action: mask}]\n'), {
    name: 'strict',
    content: { input: [{ type: 'pii', action: 'mask' }], output: [] },
  });
});

test('the digest covers every setting and the order of the checks', () => {
  const digests = [
    '{}',
    '{"input": [{"type": "a"}]}',
    '{"output": [{"type": "a"}]}',
    '{"input": [{"type": "a", "x": 1}]}',
  ]
    .concat('{"input": [{"type": "a"}, {"type": "b"}]}', '{"input": [{"type": "b"}, {"type": "a"}]}')
    .map((json) => guardrailsDigest(parseGuardrailsContent(JSON.parse(json))));
  assert.equal(new Set(digests).size, digests.length);
});

test('refused: a check without a type, a list that is none, a field that is not one', () => {
  assert.throws(() => parseGuardrailsContent({ input: [{}] }), {
    code: 'INPUT_INVALID',
    details: { field: 'input[0].type', value: undefined, remedy: 'Give it' },
  });
  assert.throws(() => parseGuardrailsContent({ output: 'pii' }), { code: 'INPUT_INVALID' });
  assert.throws(() => parseGuardrailsContent({ outputs: [] }), /outputs is not known here/);
});
