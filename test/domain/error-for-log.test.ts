import assert from 'node:assert/strict';
import { it } from 'node:test';
import { defectForLog, errorForLog, fatalForLog } from '../../domain/error-for-log.ts';
import { SlipwayError } from '../../domain/errors.ts';

/** As Postgres' client makes them. */
function databaseError(): Error {
  const message = 'invalid input syntax: "secret\n    at secret"';
  return Object.assign(new Error(message), { code: '22P02', severity: 'ERROR', detail: 'Token "secret"' });
}

it("names a database's error by its code, without what it quotes (invariant 13)", () => {
  assert.deepEqual(errorForLog(databaseError()), { error: 'Error', code: '22P02' });
  for (const told of [errorForLog, defectForLog, fatalForLog]) {
    assert.doesNotMatch(JSON.stringify(told(databaseError())), /secret/);
    const caused = new Error('it failed', { cause: databaseError() });
    assert.doesNotMatch(JSON.stringify(told(caused)), /secret/);
  }
});

it('says where a defect is, and of a coded error all that its user is told', () => {
  const { error, at, cause } = defectForLog(new TypeError('it failed', { cause: new Error('it is away') }));
  assert.deepEqual([error, cause?.error], ['it failed', 'it is away']);
  assert.match(at?.[0] ?? '', /error-for-log\.test\.ts/);
  const coded = new SlipwayError('INPUT_INVALID', 'no', { field: 'PORT' });
  assert.deepEqual(fatalForLog(coded), coded.toJSON());
});
