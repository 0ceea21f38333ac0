import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { counted, nothingProbed, type ProbeCount } from '../../../simulator/nodes/probe-count.ts';

const results = (outcomes: string, successThreshold: number, failureThreshold: number) => {
  let count: ProbeCount = nothingProbed;
  return [...outcomes].map((outcome) => {
    count = counted(count, outcome === '+', { successThreshold, failureThreshold });
    return { unknown: '?', success: '+', failure: '-' }[count.result];
  });
};

describe('counting probes', () => {
  it('turns only after enough equal outcomes in a row', () => {
    assert.equal(results('--+---+', 1, 3).join(''), '??+++-+');
    assert.equal(results('+--+-+++', 3, 1).join(''), '?------+');
    assert.equal(results('---', 1, 3).join(''), '??-');
  });

  it('says at every moment what the last long enough row said', () => {
    const outcomes = fc.array(fc.constantFrom('+', '-'), { maxLength: 30 });
    fc.assert(
      fc.property(
        outcomes,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        (list, up, down) => {
          const text = list.join('');
          const rows = [...text.matchAll(/\++|-+/g)].filter(
            ([row]) => row.length >= (row[0] === '+' ? up : down),
          );
          assert.equal(results(text, up, down).at(-1) ?? '?', rows.at(-1)?.[0][0] ?? '?');
        },
      ),
    );
  });
});
