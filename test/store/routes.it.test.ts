import assert from 'node:assert/strict';
import { it } from 'node:test';
import { inTransaction } from '../../store/database.ts';
import { readRouteTable } from '../../store/routes.ts';
import { setRoute, storeRevision } from '../gateway/support.ts';
import { databaseOfFile } from '../support/database.ts';

const db = await databaseOfFile();

it('the route table is read without looking through the prompt versions that were ever pushed', async () => {
  await db.query(
    `insert into prompt_versions (name, version, digest, content, created_by)
     select 'old', version, 'sha256:' || version, '{}', 'test' from generate_series(1, 5000) as version`,
  );
  const { digest } = await storeRevision(db, { name: 'answers', endpoints: ['http://127.0.0.1:1'] });
  await setRoute(db, { application: 'support', stable: digest });
  await inTransaction(db, async (tx) => {
    const table = await readRouteTable(tx);
    assert.equal(table.routes.support?.stable.promptRef, 'answers@1');
    const { rows } = await tx.query(
      `select seq_tup_read from pg_stat_xact_user_tables where relname = 'prompt_versions'`,
    );
    assert.deepEqual(rows, [{ seq_tup_read: 0 }]);
  });
});
