import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { boundTo, CommandNotFound, expanded, vllmArguments } from '../../../simulator/nodes/command.ts';

describe('variables in commands', () => {
  it('are put in as a kubelet does', () => {
    const variables = { MODEL: 'm', PORT: '8000', constructor: 'own' };
    assert.equal(expanded('$(MODEL):$(PORT)', variables), 'm:8000');
    assert.equal(expanded('$(UNKNOWN) $(toString) $MODEL', variables), '$(UNKNOWN) $(toString) $MODEL');
    assert.equal(expanded('$$(MODEL) $$$(MODEL)', variables), '$(MODEL) $m');
  });
});

describe("a container's command", () => {
  it("is vLLM's by the image, by name, by path or as a module", () => {
    const args = ['m', '--port', '$(PORT)'];
    const expected = ['serve', 'm', '--port', '1'];
    const variables = { PORT: '1' };
    assert.deepEqual(vllmArguments({ args }, variables), expected);
    assert.deepEqual(vllmArguments({ command: [], args }, variables), expected);
    assert.deepEqual(vllmArguments({ command: ['vllm', 'serve'], args }, variables), expected);
    assert.deepEqual(
      vllmArguments({ command: ['/usr/local/bin/vllm'], args: ['serve', ...args] }, variables),
      expected,
    );
    const module = ['python3', '-m', 'vllm.entrypoints.openai.api_server'];
    assert.deepEqual(vllmArguments({ command: module, args }, variables), expected);
  });

  it('of something else is not found', () => {
    for (const command of [['sh', '-c', 'vllm serve m'], ['vlmm'], ['python3', '-m', 'other']]) {
      assert.throws(() => vllmArguments({ command }, {}), CommandNotFound);
    }
    assert.throws(() => vllmArguments({ command: ['vlmm', 'serve'] }, {}), {
      message: 'exec: "vlmm": executable file not found in $PATH',
    });
  });
});

describe('the address that a pod listens on', () => {
  it('is its own for every address, and its own loopback for the loopback', () => {
    const host = (...args: string[]) => boundTo(args, '10.244.1.2').join(' ');
    assert.equal(host('serve', 'm'), 'serve m --host 10.244.1.2');
    assert.equal(
      host('serve', 'm', '--host', '0.0.0.0', '--port', '1'),
      'serve m --host 10.244.1.2 --port 1',
    );
    assert.equal(host('serve', '--host=0.0.0.0'), 'serve --host 10.244.1.2');
    assert.equal(host('--host', '::'), '--host 10.244.1.2');
    assert.equal(host('--host', '127.0.0.1'), '--host 127.244.1.2');
    assert.equal(host('--host=localhost'), '--host 127.244.1.2');
    assert.equal(host('--host', '10.9.9.9'), '--host 10.9.9.9');
    assert.equal(host('--host'), '--host');
  });
});
