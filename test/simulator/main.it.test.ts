import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { freePort } from '../../deploy/local/ports.ts';
import { eventually } from './http/support.ts';

const main = join(import.meta.dirname, '../../simulator/main.ts');
const small = 'meta-llama/Llama-3.1-8B-Instruct';

function start(args: string[], environment: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [main, 'serve', ...args], {
    env: { ...process.env, SIMULATOR_SPEED: '20', ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function outcome(child: ChildProcess): Promise<{ status: number | null; stderr: string }> {
  const { stderr } = child;
  if (stderr === null) throw new Error('no standard error');
  const [said, [status]] = await Promise.all([text(stderr), once(child, 'exit')]);
  return { status, stderr: said };
}

describe('simulator process', () => {
  it('comes up with a model of the catalogue, serves, and ends at once on SIGTERM in the middle of an answer', async (test) => {
    const port = await freePort();
    const child = start([small, '--max-model-len', '4096', '--host', '127.0.0.1', '--port', String(port)], {
      SIMULATOR_SPEED: '1',
    });
    test.after(() => child.kill('SIGKILL'));
    const url = `http://127.0.0.1:${port}`;
    await eventually(async () => (await fetch(`${url}/health`).catch(() => null))?.ok === true, 'health');
    const models = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
    assert.equal(models.data[0]?.id, small);
    assert.match(await (await fetch(`${url}/metrics`)).text(), /kv_cache_size_tokens="\d{6}"/);
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({
        messages: [{ role: 'user', content: 'Hello' }],
        stream: true,
        ignore_eos: true,
        max_tokens: 3000,
      }),
    });
    const reader = response.body?.getReader();
    await reader?.read();
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null]);
    await assert.rejects(async () => {
      while ((await reader?.read())?.done === false);
    }, 'a cut answer must not look complete');
  });

  it('takes nothing new but finishes what is in flight when it is told a shutdown timeout', async (test) => {
    const port = await freePort();
    const args = ['--shutdown-timeout', '600', '--host', '127.0.0.1', '--port', String(port)];
    const child = start([small, ...args], { SIMULATOR_SPEED: '1' });
    test.after(() => child.kill('SIGKILL'));
    const url = `http://127.0.0.1:${port}`;
    await eventually(async () => (await fetch(`${url}/health`).catch(() => null))?.ok === true, 'health');
    const asking = (max_tokens: number, signal: AbortSignal | null = null) => {
      const messages = [{ role: 'user', content: 'Hello' }];
      const body = JSON.stringify({ messages, ignore_eos: true, max_tokens, stream: true });
      return fetch(`${url}/v1/chat/completions`, { method: 'POST', body, signal });
    };
    // The long one keeps the server until everything was seen.
    const leaving = new AbortController();
    await asking(20_000, leaving.signal);
    const response = await asking(100);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await eventually(async () => (await fetch(`${url}/health`)).status === 503, 'draining');
    const refused = await asking(100);
    assert.equal(refused.status, 503);
    assert.deepEqual(await refused.json(), { error: 'Server is unavailable. Please try again later.' });
    assert.equal((await fetch(`${url}/metrics`)).status, 200);
    assert.match(await response.text(), /data: \[DONE\]\n\n$/);
    leaving.abort();
    assert.deepEqual(await ended, [0, null]);
  });

  it('refuses more ranks than GPUs, and ends like killed when the host has too little memory', async () => {
    const none = await outcome(start([small], { SIMULATOR_GPUS: '0' }));
    assert.match(none.stderr, /^RuntimeError: Failed to infer device type/);
    const few = await outcome(start([small, '-tp', '4'], { SIMULATOR_GPUS: '1' }));
    assert.match(
      few.stderr,
      /World size \(4\) is larger than the number of available GPUs \(1\) in this node/,
    );
    assert.deepEqual([none.status, few.status], [1, 1]);
    const poor = { SIMULATOR_GPUS: '1', SIMULATOR_HOST_MEMORY_GIB: '5' };
    assert.deepEqual(await outcome(start([small], poor)), { status: 137, stderr: '' });
  });

  it('ends with status 2 on an unknown flag, as argparse does', async () => {
    const { status, stderr } = await outcome(start([small, '--max-modell-len', '1']));
    assert.equal(status, 2);
    assert.match(stderr, /error: unrecognized arguments: --max-modell-len 1\n$/);
  });

  it('ends with status 1 and the words of vLLM when the model or its cache does not fit', async () => {
    const cases: [string[], RegExp][] = [
      [
        ['meta-llama/Llama-3.1-70B-Instruct', '--max-model-len', '8192'],
        /torch\.OutOfMemoryError: CUDA out of memory/,
      ],
      [
        ['meta-llama/Llama-3.1-70B-Instruct', '-tp', '2', '--max-model-len', '32768'],
        /^ValueError: To serve at least one request/m,
      ],
      [['nobody/nothing'], /is not a valid model identifier/],
    ];
    for (const [args, message] of cases) {
      const { status, stderr } = await outcome(start(args));
      assert.equal(status, 1);
      assert.match(stderr, message);
    }
    const { stderr } = await outcome(start([small], { SIMULATOR_GPU_MEMORY_GIB: '24' }));
    assert.match(stderr, /estimated maximum model length is \d+/);
  });

  it('ends when its port is taken', async (test) => {
    const holder = createServer().listen(0, '127.0.0.1');
    test.after(() => holder.close());
    await once(holder, 'listening');
    const address = holder.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const { status, stderr } = await outcome(
      start([small, '--max-model-len', '4096', '--host', '127.0.0.1', '--port', String(port)]),
    );
    assert.equal(status, 1);
    assert.match(stderr, /EADDRINUSE/);
  });
});
