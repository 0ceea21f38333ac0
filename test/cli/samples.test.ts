import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { judgeFile } from '../../cli/samples.ts';
import type { SlipwayError } from '../../domain/errors.ts';
import { planGate } from '../../domain/gate/plan.ts';
import { defaultGatePolicy } from '../../domain/gate/policy.ts';

const plan = planGate(
  { ...defaultGatePolicy, metrics: defaultGatePolicy.metrics.filter(({ metric }) => metric === 'error') },
  null,
);
const question = { plan, looks: 1 };
const header = 'time,user,arm,error';
const rows = [
  '2026-01-05T00:00Z,u1,stable,0',
  '2026-01-05T01:00Z,u2,canary,1',
  '2026-01-05T02:00Z,u1,stable,',
];

describe('a file of samples', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'slipway-samples-'));
  });
  after(() => rm(folder, { recursive: true }));

  const file = () => join(folder, 'samples.csv');
  /** The digest of all that the gate would see of the file. */
  async function figuresOf(content: string | Buffer): Promise<string> {
    await writeFile(file(), content);
    return (await judgeFile(file(), question)).verdict.figuresDigest;
  }
  async function refusal(content: string): Promise<Pick<SlipwayError, 'code' | 'message' | 'details'>> {
    await writeFile(file(), content);
    return judgeFile(file(), question).then(
      () => assert.fail('the file was accepted'),
      ({ code, message, details }: SlipwayError) => {
        assert.ok(message.startsWith(`${file()}: `), message);
        return { code, message: message.slice(file().length + 2), details };
      },
    );
  }

  it('reads the same however it was written', async () => {
    const plain = await figuresOf(`${[header, ...rows].join('\n')}\n`);
    const reordered = rows.map((row) => row.split(',').toReversed().join(','));
    const others: Record<string, string | Buffer> = {
      'without a last line end': [header, ...rows].join('\n'),
      'byte order mark': `\u{FEFF}${[header, ...rows].join('\n')}`,
      'UTF-16': Buffer.from(`\u{FEFF}${[header, ...rows].join('\n')}`, 'utf16le'),
      CRLF: `${[header, ...rows].join('\r\n')}\r\n`,
      'CRLF after the header only': `${header}\r\n${rows.join('\n')}\n`,
      'CRLF after the rows only': `${header}\n${rows.join('\r\n')}\r\n`,
      'blank lines': `${header}\n\n${rows.join('\n\n')}\n\n`,
      quotes: [header, ...rows].map((row) => row.replaceAll(/[^,]+/g, '"$&"')).join('\n'),
      blanks: [header, ...rows].map((row) => row.replaceAll(',', ' , ')).join('\n'),
      'other order of rows': [header, ...rows.toReversed()].join('\n'),
      'other order of columns': [header.split(',').toReversed().join(','), ...reordered].join('\n'),
    };
    for (const [name, content] of Object.entries(others)) {
      assert.equal(await figuresOf(content), plain, name);
    }
    assert.notEqual(await figuresOf([header, ...rows.slice(1)].join('\n')), plain);
  });

  it('says how far it is', async () => {
    const many = Array.from(
      { length: 100_001 },
      (_, row) => `2026-01-05T0${row % 10}:00Z,u${row % 7},stable,0`,
    );
    await writeFile(file(), [header, ...many].join('\n'));
    const told: string[] = [];
    await judgeFile(file(), { plan, looks: 2 }, (how) => told.push(how));
    const looks = ['0 of 2 looks taken', '1 of 2 looks taken'];
    assert.deepEqual(told, ['50000 rows read', '100000 rows read', ...looks]);
  });

  it('counts rows as an editor counts lines', async () => {
    for (const [lines, row] of [
      [[rows[0], 'x,u1,stable,0'], 3],
      [['', '', rows[0], '', 'x,u1,stable,0'], 6],
      [['2026-01-05T00:00Z,"u\n1",stable,0', 'x,u1,stable,0'], 4],
    ] as const) {
      const { code, details } = await refusal([header, ...lines].join('\n'));
      assert.deepEqual([code, details.field], ['SAMPLES_INVALID', `rows[${row}].time`]);
    }
  });

  it('is refused with the row where its cells are not as many, or a quote stays open', async () => {
    for (const [lines, row, words] of [
      [[rows[0], '2026-01-05T00:00Z,u1,stable,0,5'], 3, 'row 3 has 5 cells, the header 4'],
      [['', '2026-01-05T00:00Z,u1,stable'], 3, 'row 3 has 3 cells, the header 4'],
      [[rows[0], '2026-01-05T00:00Z,"u1,stable,0', ...rows], 3, 'row 3 opens a quote that is never closed'],
    ] as const) {
      const { code, message, details } = await refusal([header, ...lines].join('\n'));
      assert.deepEqual([code, message, details.field], ['SAMPLES_INVALID', words, `rows[${row}]`]);
      assert.ok(details.remedy);
    }
    for (const content of [
      `${header}\n2026-01-05T00:00Z,u"1",stable,0`,
      `${header}\n2026-01-05T00:00Z,"u"1,stable,0`,
    ]) {
      const { message, details } = await refusal(content);
      assert.match(message, /^row 2 has a quote where none can stand/);
      assert.equal(details.field, 'rows[2]');
    }
    assert.equal((await refusal('"time')).message, 'row 1 opens a quote that is never closed');
  });

  it('is refused from its header before a row is read', async () => {
    const { message } = await refusal('timestamp;user;arm;error\nx\n');
    assert.match(message, /^the file has no column time, user, arm, error; the header has timestamp;user/);
  });

  it('is refused when it holds nothing, or nothing of the time that is asked about', async () => {
    for (const content of ['', header, `${header}\n\n`]) {
      assert.equal((await refusal(content)).message, 'the file holds no sample');
    }
    await writeFile(file(), [header, ...rows].join('\n'));
    await assert.rejects(judgeFile(file(), { ...question, from: Date.UTC(2027, 0) }), (error: SlipwayError) =>
      error.message.startsWith(`${file()}: none of the 3 rows`),
    );
  });

  it('is refused where it does not exist', async () => {
    await assert.rejects(judgeFile(folder, question), {
      code: 'INPUT_INVALID',
      details: { field: 'file', value: folder, remedy: 'Name a file that exists' },
    });
    await assert.rejects(judgeFile(join(folder, 'none.csv'), question), { code: 'INPUT_INVALID' });
  });
});
