import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { describe, it } from 'node:test';
import { Engine } from '../../../simulator/engine/engine.ts';
import { EngineMetrics } from '../../../simulator/engine/engine-metrics.ts';
import { chatShape, type GenerateOptions, generate } from '../../../simulator/http/generate.ts';
import { ModelServer } from '../../../simulator/http/model-server.ts';
import { knowledge } from '../answers/support.ts';
import { VirtualClock } from '../engine/virtual-clock.ts';

const options: GenerateOptions = {
  stream: true,
  includeUsage: true,
  streamInterval: 1,
  promptTokensDetails: false,
  requestId: 'one',
};

/** Streams an answer on a clock that moves by `tick` milliseconds at a time; every write is one entry. */
async function stream(given: Partial<GenerateOptions>, tick = 1): Promise<string[]> {
  const clock = new VirtualClock();
  const plan = {
    maxModelLen: 4096,
    maxNumBatchedTokens: 2048,
    weightBits: 16,
    weightBytes: 16e9,
    kvBytesPerToken: 131_072,
    blocks: 5000,
  };
  const engine = new Engine(
    {
      plan,
      blockSize: 16,
      maxNumSeqs: 8,
      prefixCaching: true,
      chunkedPrefill: true,
      parametersPerRank: 8e9,
      speed: 1,
    },
    new EngineMetrics('m', 4096, {}),
    clock,
  );
  const server = new ModelServer({
    names: ['m'],
    model: 'm',
    maxModelLen: 4096,
    ability: { parameters: 8e9, weightBits: 16 },
    knowledge,
    engine,
  });
  const writes: string[] = [];
  let ended = false;
  const response = Object.assign(new EventEmitter(), {
    writeHead: () => response,
    write: (text: string) => writes.push(text) > 0,
    end: (text: string) => {
      writes.push(text);
      ended = true;
    },
  }) as unknown as ServerResponse;
  const planned = server.planChat({
    messages: [{ role: 'user', content: 'How long are gift cards valid?' }],
    temperature: 0,
  });
  generate(
    server,
    planned,
    chatShape,
    { ...options, ...given },
    new EventEmitter() as IncomingMessage,
    response,
  );
  for (let step = 0; step < 5000 && !ended; step++) {
    clock.advance(tick);
    await Promise.resolve();
  }
  assert.ok(ended);
  return writes;
}

const events = (writes: string[]) =>
  writes
    .join('')
    .split('\n\n')
    .filter((event) => event !== '' && event !== 'data: [DONE]')
    .map((event) => JSON.parse(event.slice('data: '.length)));
const textOf = (writes: string[]) =>
  events(writes)
    .map((event) => event.choices[0]?.delta.content ?? '')
    .join('');

describe('streaming', () => {
  it('writes once for every token, the role first, the finish and the usage last', async () => {
    const writes = await stream({});
    const sent = events(writes);
    const usage = sent.at(-1)?.usage;
    assert.equal(writes.length, usage.completion_tokens);
    assert.deepEqual(sent[0]?.choices[0].delta, { role: 'assistant', content: '' });
    assert.equal(sent.filter((event) => event.choices[0]?.finish_reason === 'stop').length, 1);
    assert.deepEqual(sent.at(-1)?.choices, []);
    assert.equal(sent[0]?.id, 'chatcmpl-one');
  });

  it('sends the first token at once and the others in groups with a stream interval', async () => {
    const single = await stream({});
    const grouped = await stream({ streamInterval: 8 });
    assert.equal(textOf(grouped), textOf(single));
    assert.ok(grouped.length <= 2 + Math.ceil(single.length / 8));
    assert.equal(textOf(grouped.slice(0, 1)), textOf(single.slice(0, 1)));
  });

  it('puts tokens together that came while nobody could write', async () => {
    const prompt = await stream({});
    const late = await stream({}, 60);
    assert.equal(textOf(late), textOf(prompt));
    assert.ok(late.length < prompt.length);
  });
});
