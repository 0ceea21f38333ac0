import assert from 'node:assert/strict';
import { it } from 'node:test';
import { attachScores, forgetUnmatchedScores, recordBatch, saveFeedback } from '../../../store/ledger.ts';
import { databaseOfFile } from '../../support/database.ts';
import { idOf, sampleOf } from '../../support/ledger.ts';

const db = await databaseOfFile();

it('scores and feedback that no sample has taken for a week are forgotten, and no others', async () => {
  const taken = sampleOf({ id: idOf('taken'), at: Date.now() });
  await recordBatch(db, [taken]);
  const never = idOf('never');
  const say = async (request: string, tenant: string) => {
    await saveFeedback(db, { request, tenant, score: 1, comment: 'so' });
    await attachScores(db, [{ request, tenant, evaluator: 'feedback', score: 1 }]);
  };
  await say(taken.id, 'shop');
  await say(taken.id, 'rival');
  await say(never, 'shop');
  const left = async () => {
    const { rows } = await db.query(
      `select s.request_id as request, s.tenant, f.comment from scores s full join feedback f using (request_id, tenant) order by s.tenant`,
    );
    return rows;
  };
  assert.equal(await forgetUnmatchedScores(db), 0);
  assert.equal((await left()).length, 3);
  await db.query(`update scores set at = at - interval '8 days'`);
  assert.equal(await forgetUnmatchedScores(db), 2);
  assert.deepEqual(await left(), [{ request: taken.id, tenant: 'shop', comment: 'so' }]);
});
