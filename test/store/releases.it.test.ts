import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SlipwayError } from '../../domain/errors.ts';
import { fenceMoves, loadSpec } from '../../store/releases.ts';
import { databaseOfFile } from '../support/database.ts';
import { releasesOn } from '../support/releases.ts';

const db = await databaseOfFile();

const refusedWith = (code: string, field: string) => (error: unknown) => {
  assert.ok(error instanceof SlipwayError);
  assert.deepEqual([error.code, error.details.field], [code, field]);
  assert.ok(error.details.remedy);
  return true;
};

test('a spec that is not stored is named, and is no release', async () => {
  await assert.rejects(loadSpec(db, 'sha256:0'), refusedWith('NOT_FOUND', 'spec'));
});

test('a late move is told from one of a release that there is not', async () => {
  const { release } = await releasesOn(db).register({ application: 'moved' });
  await fenceMoves(db, release, 2);
  await assert.rejects(
    fenceMoves(db, release, 1),
    (error) => error instanceof SlipwayError && error.code === 'ROUTE_CONFLICT',
  );
  await assert.rejects(fenceMoves(db, 'none', 1), refusedWith('RELEASE_NOT_FOUND', 'release'));
});
