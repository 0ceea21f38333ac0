import assert from 'node:assert/strict';
import { test } from 'node:test';
import { final } from '../../activities/watch.ts';
import { type ErrorCode, SlipwayError } from '../../domain/errors.ts';

const remedy = 'Correct runtime.flags';
const cases: [string, ErrorCode, string, string | undefined, string][] = [
  ['carries its remedy', 'SERVING_FAILED', 's: no GPU', remedy, `s: no GPU. ${remedy}`],
  ['has one full stop', 'CAPACITY_EXCEEDED', 's: no GPU.', remedy, `s: no GPU. ${remedy}`],
  ['has it on a line of its own after a log', 'SERVING_FAILED', 's:\nlog', remedy, `s:\nlog\n${remedy}`],
  ['does not say it twice', 'PREFLIGHT_FAILED', `s. ${remedy}: x`, remedy, `s. ${remedy}: x`],
  ['may have none', 'SERVING_FAILED', 's: no GPU.', undefined, 's: no GPU.'],
  ['that ends no release stays as it is', 'NOT_FOUND', 'no release', remedy, 'no release'],
];
for (const [what, code, message, told, expected] of cases) {
  test(`a final failure ${what}`, () => {
    const error = new SlipwayError(code, message, { remedy: told });
    const failure = final(error);
    assert.equal(failure.message, expected);
    // Scripts read message and remedy apart.
    assert.deepEqual(failure.details, [error.toJSON()]);
    assert.equal(failure.type, code);
  });
}
