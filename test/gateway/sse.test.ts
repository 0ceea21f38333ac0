import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { EventSplitter } from '../../gateway/sse.ts';

function split(bytes: Buffer, cuts: readonly number[]): string[] {
  const splitter = new EventSplitter();
  const edges = [0, ...[...cuts].sort((a, b) => a - b), bytes.length];
  return edges.slice(1).flatMap((end, i) => splitter.push(bytes.subarray(edges[i], end)));
}

describe('EventSplitter', () => {
  it('gives the same events wherever the bytes are cut', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1 }).map((value) => JSON.stringify({ value }));
    fc.assert(
      fc.property(
        fc.array(text, { maxLength: 8 }),
        fc.constantFrom('\n\n', '\r\n\r\n'),
        fc.array(fc.nat()),
        (events, end, cuts) => {
          const bytes = Buffer.from(events.map((event) => `data: ${event}${end}`).join(''));
          const places = cuts.map((cut) => (bytes.length === 0 ? 0 : cut % bytes.length));
          assert.deepEqual(split(bytes, places), events);
        },
      ),
    );
  });

  it('cuts between every two bytes of a character of four', () => {
    const bytes = Buffer.from('data: {"a":"🧭é"}\n\n');
    const every = Array.from({ length: bytes.length }, (_, i) => i);
    assert.deepEqual(split(bytes, every), ['{"a":"🧭é"}']);
  });

  it('keeps an event that is not complete', () => {
    const splitter = new EventSplitter();
    assert.deepEqual(splitter.push(Buffer.from('data: 1\n\ndata: 2\n')), ['1']);
    assert.deepEqual(splitter.push(Buffer.from('\n')), ['2']);
  });

  it('leaves comments, names and empty events out, and joins lines of data', () => {
    const bytes = Buffer.from(': ping\n\nevent: message\nid: 7\ndata: 1\ndata:2\n\n\n\ndata: 3\n\n');
    assert.deepEqual(split(bytes, []), ['1\n2', '3']);
  });

  it('does not buffer an event without end for ever', () => {
    const splitter = new EventSplitter();
    const megabyte = Buffer.alloc(1024 * 1024, 'x');
    assert.throws(() => {
      for (let i = 0; i < 10; i++) splitter.push(megabyte);
    }, RangeError);
  });
});
