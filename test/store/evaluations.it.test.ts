import assert from 'node:assert/strict';
import { it } from 'node:test';
import { listCaseResults, saveCaseAnswer, saveCaseVerdict } from '../../store/evaluations.ts';
import { databaseOfFile } from '../support/database.ts';

const db = await databaseOfFile();

it('the first answer to a case stays, and so does the first verdict on it', async () => {
  const answer = { text: 'yes', refusal: null, latencyMs: 5 };
  const verdict = { passed: true, score: 1, reasons: [] };
  assert.deepEqual(await saveCaseAnswer(db, 'r', 1, answer), answer);
  assert.deepEqual(await saveCaseAnswer(db, 'r', 1, { ...answer, text: 'no' }), answer);
  assert.deepEqual(await listCaseResults(db, 'r'), new Map([[1, { answer, verdict: null }]]));
  await saveCaseVerdict(db, 'r', 1, verdict);
  await saveCaseVerdict(db, 'r', 1, { ...verdict, passed: false });
  await saveCaseAnswer(db, 'r', 1, { ...answer, text: 'late' });
  await saveCaseAnswer(db, 'r', 0, { ...answer, text: 'of another case' });
  await saveCaseAnswer(db, 'other', 1, { ...answer, text: 'of another release' });
  const results = await listCaseResults(db, 'r');
  assert.deepEqual([...results.keys()], [0, 1]);
  assert.deepEqual(results.get(1), { answer, verdict });
});
