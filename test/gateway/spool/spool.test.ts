import assert from 'node:assert/strict';
import fs, { appendFileSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import fc from 'fast-check';
import { decodeLines, encodeLine } from '../../../gateway/spool/lines.ts';
import { Spool } from '../../../gateway/spool/spool.ts';
import type { SampleRecord } from '../../../store/ledger.ts';
import { temporaryState } from '../support.ts';

const record = (id: string, text = ''): SampleRecord => ({
  id,
  at: 0,
  tenant: 'shop',
  application: 'support',
  release: null,
  arm: 'stable',
  user: 'u',
  stratum: 0,
  revision: 'r',
  endpoint: null,
  status: 200,
  reason: null,
  failed: false,
  interrupted: false,
  streamed: false,
  finishReason: null,
  violations: 0,
  latency: 1,
  ttft: null,
  tpot: null,
  cost: null,
  promptTokens: null,
  completionTokens: null,
  cachedTokens: null,
  scoring: text === '' ? null : { input: text, output: text },
});

describe('lines of a segment', () => {
  it('give back what was written, up to the byte where it was cut', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { maxLength: 6 }), fc.nat(), (values, cut) => {
        const lines = values.map(encodeLine);
        const bytes = Buffer.concat(lines);
        const end = bytes.length === 0 ? 0 : cut % (bytes.length + 1);
        const whole = lines.filter((_, i) => Buffer.concat(lines.slice(0, i + 1)).length <= end).length;
        const { records, torn } = decodeLines(bytes.subarray(0, end));
        assert.deepEqual(JSON.stringify(records), JSON.stringify(values.slice(0, whole)));
        assert.ok(torn <= 1);
      }),
    );
  });

  it('that were damaged are not read, and the others are', () => {
    const bytes = Buffer.concat([encodeLine({ a: 1 }), encodeLine({ b: 2 }), encodeLine({ c: 3 })]);
    bytes[encodeLine({ a: 1 }).length + 12] = 0x39;
    assert.deepEqual(decodeLines(bytes), { records: [{ a: 1 }, { c: 3 }], torn: 1 });
  });
});

describe('Spool', () => {
  let state: ReturnType<typeof temporaryState>;
  beforeEach(() => {
    state = temporaryState();
  });
  afterEach(() => {
    mock.restoreAll();
    syncBuiltinESMExports();
    state.remove();
  });

  /** A disk that opens files and takes no byte; `left` is what it says that it has, of a million bytes. */
  const fillDisk = (left: number): void => {
    const full = (): never => {
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    };
    mock.method(fs, 'writeSync', full);
    mock.method(fs.promises, 'writeFile', async () => full());
    mock.method(fs, 'statfsSync', () => ({ blocks: 1_000_000, bavail: left, bsize: 1 }));
    syncBuiltinESMExports();
  };
  const makeRoom = (): void => {
    mock.restoreAll();
    syncBuiltinESMExports();
  };

  const open = (maxBytes = 1024 * 1024): Spool => new Spool({ folder: state.path, maxBytes });
  const ids = (spool: Spool): string[] =>
    spool.waiting().flatMap((segment) => spool.read(segment).records.map((r) => (r as SampleRecord).id));

  it('has a record on disk when append returns', () => {
    const spool = open();
    spool.append(record('a'));
    const [file] = readdirSync(state.path);
    assert.deepEqual(decodeLines(readFileSync(join(state.path, file ?? ''))).records, [record('a')]);
    spool.close();
  });

  it('finds what a killed predecessor left, without its last, torn line', () => {
    const killed = open();
    killed.append(record('a'));
    killed.append(record('b'));
    const [file] = readdirSync(state.path);
    const path = join(state.path, file ?? '');
    truncateSync(path, readFileSync(path).length - 3);
    const next = open();
    next.append(record('c'));
    next.rotate();
    assert.deepEqual(ids(next), ['a', 'c']);
    killed.close();
    next.close();
  });

  it('refuses requests before it is full, and takes them again when segments are moved', () => {
    const spool = open(64 * 1024);
    assert.ok(spool.admit());
    spool.append(record('a', 'x'.repeat(30_000)));
    spool.release();
    assert.equal(spool.admit(), false);
    spool.rotate();
    for (const segment of [...spool.waiting()]) spool.remove(segment);
    assert.equal(spool.bytes, 0);
    assert.deepEqual(readdirSync(state.path), []);
    assert.ok(spool.admit());
    spool.close();
  });

  it('keeps room for the records of requests that it has admitted', () => {
    const spool = open(5 * 16 * 1024);
    const admitted = Array.from({ length: 10 }, () => spool.admit());
    assert.equal(admitted.filter(Boolean).length, 5);
    spool.release();
    assert.ok(spool.admit());
    spool.close();
  });

  it('counts what a predecessor left against its size', () => {
    writeFileSync(
      join(state.path, '00000000000001-1-00000001.jsonl'),
      encodeLine(record('a', 'x'.repeat(70_000))),
    );
    appendFileSync(join(state.path, 'notes.txt'), 'no segment');
    const spool = open(64 * 1024);
    assert.equal(spool.admit(), false);
    spool.close();
  });

  it('admits nothing on a disk that took no record, until it really takes one (invariant 10)', async () => {
    const spool = open();
    // As with a quota: the disk says that it has room.
    fillDisk(1_000_000);
    assert.ok(spool.admit());
    assert.throws(() => spool.append(record('a')), { code: 'ENOSPC' });
    spool.release();
    assert.equal(spool.admit(), false);
    await spool.heal();
    assert.equal(spool.admit(), false);
    makeRoom();
    assert.equal(spool.admit(), false);
    await spool.heal();
    assert.ok(spool.admit());
    spool.append(record('b'));
    spool.rotate();
    assert.deepEqual(ids(spool), ['b']);
    assert.ok(!readdirSync(state.path).includes('probe'));
    spool.close();
  });

  it('admits no more requests than the disk has room for the records of', () => {
    const spool = open();
    fillDisk(3 * 16 * 1024);
    assert.deepEqual([spool.admit(), spool.admit(), spool.admit(), spool.admit()], [true, true, true, false]);
    spool.release();
    assert.ok(spool.admit());
    spool.close();
  });
});
