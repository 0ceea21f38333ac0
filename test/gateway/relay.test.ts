import assert from 'node:assert/strict';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { describe, it } from 'node:test';
import pino from 'pino';
import type { ArmTarget } from '../../domain/routing.ts';
import { Exchange } from '../../gateway/exchange.ts';
import { Metrics } from '../../gateway/metrics.ts';
import { endWith, relayStream, relayWhole } from '../../gateway/relay.ts';
import type { Spool } from '../../gateway/spool/spool.ts';
import { asUpstreamFailure } from '../../gateway/upstream.ts';
import type { SampleRecord } from '../../store/ledger.ts';
import { chunk, completionOf, sse, streamOf } from './fake-engine.ts';

const target: ArmTarget = {
  revision: 'sha256:1',
  prompt: { system: '', template: '', variables: [], examples: [], parameters: {}, outputSchema: null },
  promptRef: 'p@1',
  model: {
    name: 'm',
    architecture: { layers: 1, kvHeads: 1, headDim: 1, kvBytes: 2, weightsGiB: 1 },
    price: { inputPerMillion: 1, outputPerMillion: 1 },
  },
  servedModel: 'm',
  serving: 'sha256:s',
  endpoints: [],
};

/** An exchange whose response and spool write down what happens, in order. */
function exchangeOf(stream: boolean): { exchange: Exchange; events: string[]; records: SampleRecord[] } {
  const events: string[] = [];
  const records: SampleRecord[] = [];
  const res = {
    headersSent: false,
    writeHead() {
      this.headersSent = true;
    },
    write(text: string, then?: () => void) {
      events.push(`write ${text.slice(0, 14)}`);
      then?.();
      return true;
    },
    end: () => events.push('end'),
    destroy: () => events.push('destroy'),
  };
  const spool = {
    append: (record: SampleRecord) => {
      events.push('record');
      records.push(record);
    },
  };
  const exchange = new Exchange({
    id: '0190f5a0-0000-7000-8000-000000000000',
    at: 0,
    started: performance.now(),
    tenant: 'shop',
    request: {
      application: 'support',
      messages: [{ role: 'user', content: 'Hello' }],
      stream,
      includeUsage: false,
      variables: {},
      user: 'ann',
      passedThrough: {},
    },
    userKey: 'u',
    assignment: { release: null, arm: 'stable', target, stratum: 0, scored: false },
    res: res as unknown as ServerResponse,
    spool: spool as unknown as Spool,
    metrics: new Metrics(),
    logger: pino({ level: 'silent' }),
  });
  return { exchange, events, records };
}

const from = (...parts: string[]): IncomingMessage =>
  Readable.from(parts.map((part) => Buffer.from(part))) as unknown as IncomingMessage;

describe('the record of an answer (invariant 10)', () => {
  it('is written before the last bytes of a stream', async () => {
    const { exchange, events, records } = exchangeOf(true);
    await relayStream(exchange, from(sse(chunk({ content: 'a' })), streamOf(['b'])));
    assert.deepEqual(events, ['write data: {"id":"c', 'record', 'end']);
    assert.equal(records[0]?.interrupted, false);
  });

  it('is written before the bytes of a whole answer', async () => {
    const { exchange, events } = exchangeOf(false);
    await relayWhole(exchange, from(JSON.stringify(completionOf('a'))));
    assert.deepEqual(events, ['record', 'end']);
  });

  it('is written before the error, and once', async () => {
    const { exchange, events, records } = exchangeOf(true);
    await relayStream(exchange, from(sse(chunk({ content: 'a' })))).catch((error) =>
      endWith(exchange, asUpstreamFailure(error)),
    );
    exchange.clientClosed();
    assert.deepEqual(events, ['write data: {"id":"c', 'record', 'write data: {"error"', 'destroy']);
    assert.deepEqual([records[0]?.interrupted, records[0]?.reason], [true, 'upstream_cut']);
  });

  it('of an answer of which nothing was passed on has no time to first token', async () => {
    const { exchange, events, records } = exchangeOf(true);
    const failing = from(sse(chunk({ content: 'a' })) + sse({ error: { message: 'no' } }));
    await relayStream(exchange, failing).catch((error) => endWith(exchange, asUpstreamFailure(error)));
    assert.deepEqual(events, ['record', 'end']);
    assert.deepEqual([records[0]?.ttft, records[0]?.interrupted], [null, false]);
  });

  it('of a client that left stays, whatever the endpoint says afterwards', async () => {
    const { exchange, events, records } = exchangeOf(true);
    exchange.clientClosed();
    await relayStream(exchange, from(streamOf(['a'])));
    assert.deepEqual(events, ['record']);
    assert.deepEqual([records[0]?.reason, records[0]?.failed], ['client_closed', true]);
  });
});
