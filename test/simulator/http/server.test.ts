import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import OpenAI, { APIError } from 'openai';
import { eventually, type Served, serve } from './support.ts';

const messages: OpenAI.ChatCompletionMessageParam[] = [
  { role: 'system', content: 'You are the support of Kestrel Market. Gift cards are valid for 3 years.' },
  { role: 'user', content: 'How long are gift cards valid?' },
];

describe('HTTP API', () => {
  let served: Served;
  let client: OpenAI;
  before(async () => {
    served = await serve();
    client = new OpenAI({ baseURL: `${served.url}/v1`, apiKey: 'unused', maxRetries: 0 });
  });
  after(() => served.close());

  const post = (path: string, body: string | object) =>
    fetch(served.url + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });

  it('answers the same whole and streamed, with the same usage', async () => {
    const request = { model: 'support', messages, temperature: 0 };
    const whole = await client.chat.completions.create(request);
    const stream = await client.chat.completions.create({
      ...request,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    const finishes: unknown[] = [];
    const usages: unknown[] = [];
    let last: OpenAI.ChatCompletionChunk | undefined;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? '';
      if (chunk.choices[0]?.finish_reason) finishes.push(chunk.choices[0].finish_reason);
      if (chunk.usage) usages.push(chunk.usage);
      last = chunk;
    }
    assert.equal(text, whole.choices[0]?.message.content);
    assert.deepEqual(finishes, ['stop']);
    assert.deepEqual(usages, [whole.usage]);
    assert.deepEqual(last?.choices, [], 'the usage comes in a last chunk without choices');
    assert.equal(
      whole.usage?.total_tokens,
      (whole.usage?.prompt_tokens ?? 0) + (whole.usage?.completion_tokens ?? 0),
    );
    assert.match(whole.id, /^chatcmpl-/);
  });

  it('streams no usage unless it was asked for, and ends with [DONE]', async () => {
    const body = await (
      await post('/v1/chat/completions', { model: 'support', messages, stream: true })
    ).text();
    assert.ok(body.endsWith('data: [DONE]\n\n'));
    assert.ok(!body.includes('"usage"'));
    for (const event of body.trim().split('\n\n').slice(0, -1)) JSON.parse(event.replace(/^data: /, ''));
  });

  it('stops at max_tokens and at stop strings', async () => {
    const request = { model: 'support', messages, temperature: 0 };
    const whole = (await client.chat.completions.create(request)).choices[0]?.message.content ?? '';
    const short = await client.chat.completions.create({ ...request, max_tokens: 3 });
    assert.equal(short.choices[0]?.finish_reason, 'length');
    assert.equal(short.usage?.completion_tokens, 3);
    const beginning = short.choices[0]?.message.content ?? '';
    assert.ok(whole.startsWith(beginning) && beginning.length < whole.length);
    const word = whole.split(' ')[2] ?? '';
    const stopped = await client.chat.completions.create({ ...request, stop: [word] });
    assert.equal(stopped.choices[0]?.finish_reason, 'stop');
    assert.equal(stopped.choices[0]?.message.content, whole.slice(0, whole.indexOf(word)));
  });

  it('completes plain prompts', async () => {
    const completion = await client.completions.create({
      model: 'alias',
      prompt: 'Gift cards are valid for 3 years.\nQuestion: How long are gift cards valid?\nAnswer:',
      max_tokens: 50,
      temperature: 0,
    });
    assert.match(completion.choices[0]?.text ?? '', /\d year/);
    assert.equal(completion.model, 'support');
  });

  it('lists its models with their context length', async () => {
    const { data } = await client.models.list();
    assert.deepEqual(
      data.map((model) => [model.id, (model as { max_model_len?: number }).max_model_len]),
      [
        ['support', 2048],
        ['alias', 2048],
      ],
    );
  });

  it('counts tokens, and turns them back into text', async () => {
    const text = 'Unused items can be returned within 30 days.';
    const tokenized = (await (await post('/tokenize', { model: 'support', prompt: text })).json()) as {
      count: number;
      tokens: number[];
      max_model_len: number;
    };
    assert.equal(tokenized.tokens.length, tokenized.count);
    assert.equal(tokenized.max_model_len, 2048);
    const back = (await (await post('/detokenize', { tokens: tokenized.tokens })).json()) as {
      prompt: string;
    };
    assert.equal(back.prompt, text);
  });

  it('refuses in the shape of vLLM', async () => {
    const refusal = async (body: string | object) => {
      const response = await post('/v1/chat/completions', body);
      const { error } = (await response.json()) as { error: { message: string; type: string; code: number } };
      assert.equal(error.code, response.status);
      return { status: response.status, ...error };
    };
    const unknown = await refusal({ model: 'nope', messages });
    assert.deepEqual(
      [unknown.status, unknown.type, unknown.message],
      [404, 'NotFoundError', 'The model `nope` does not exist.'],
    );
    assert.match((await refusal('{"model')).message, /JSON decode error/);
    for (const bad of [
      { model: 'support' },
      { model: 'support', messages: [] },
      { model: 'support', messages, temperature: -1 },
      { model: 'support', messages, max_tokens: 0 },
      { model: 'support', messages, n: 2 },
      { model: 'support', messages, tool_choice: { type: 'function', function: { name: 'f' } } },
    ]) {
      const { status, type } = await refusal(bad);
      assert.deepEqual([status, type], [400, 'BadRequestError'], JSON.stringify(bad));
    }
    for (const long of [
      { model: 'support', messages, max_tokens: 3000 },
      { model: 'support', messages: [{ role: 'user', content: 'long '.repeat(3000) }] },
    ]) {
      const { status, message } = await refusal(long);
      assert.equal(status, 400);
      assert.match(message, /^This model's maximum context length is 2048 tokens\. However, you requested/);
    }
    assert.equal((await fetch(`${served.url}/v1/nothing`)).status, 404);
  });

  it('tells errors so that the official client understands them', async () => {
    await assert.rejects(
      client.chat.completions.create({ model: 'nope', messages }),
      (error) => error instanceof APIError && error.status === 404 && error.type === 'NotFoundError',
    );
  });

  it('shows what it did under the metric names of vLLM', async () => {
    const text = await served.metrics();
    for (const name of [
      'vllm:num_requests_running{',
      'vllm:num_requests_waiting{',
      'vllm:kv_cache_usage_perc{',
      'vllm:time_to_first_token_seconds_bucket{',
      'vllm:inter_token_latency_seconds_bucket{',
      'vllm:e2e_request_latency_seconds_bucket{',
      'vllm:request_success_total{',
      'vllm:num_preemptions_total{',
      'vllm:cache_config_info{',
    ]) {
      assert.ok(text.includes(`\n${name}`), name);
    }
    assert.match(text, /vllm:time_to_first_token_seconds_count\{model_name="support",engine="0"\} [1-9]/);
    assert.match(text, /vllm:request_success_total\{[^}]*finished_reason="length"\} [1-9]/);
  });
});

describe('HTTP API under special settings', () => {
  it('asks for a key under /v1 only', async (test) => {
    const served = await serve({ apiKeys: ['right', 'spare'] });
    test.after(() => served.close());
    const status = async (path: string, key?: string) =>
      (
        await fetch(
          served.url + path,
          key === undefined ? {} : { headers: { authorization: `Bearer ${key}` } },
        )
      ).status;
    assert.equal(await status('/v1/models'), 401);
    assert.equal(await status('/v1/models', 'wrong'), 401);
    assert.equal(await status('/v1/models', 'right'), 200);
    assert.equal(await status('/v1/models', 'spare'), 200);
    assert.equal(await status('/health'), 200);
    assert.equal(await status('/metrics'), 200);
  });

  for (const stream of [true, false]) {
    it(`stops the engine when a client of a ${stream ? 'streamed' : 'whole'} answer leaves`, async (test) => {
      const served = await serve({ speed: 0.05 });
      test.after(() => served.close());
      const leaving = new AbortController();
      const request = fetch(`${served.url}/v1/chat/completions`, {
        method: 'POST',
        signal: leaving.signal,
        body: JSON.stringify({ model: 'support', messages, stream, ignore_eos: true, max_tokens: 1000 }),
      }).then((response) => response.text());
      const shows = (line: RegExp) => async () => line.test(await served.metrics());
      await eventually(shows(/num_requests_running\{[^}]*\} 1\n/), 'the request runs');
      leaving.abort();
      await assert.rejects(request);
      await eventually(shows(/request_success_total\{[^}]*"abort"\} 1\n/), 'the request is aborted');
      assert.match(await served.metrics(), /num_requests_running\{[^}]*\} 0\n/);
      assert.match(await served.metrics(), /kv_cache_usage_perc\{[^}]*\} 0\n/);
    });
  }
});
