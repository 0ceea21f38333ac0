import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../../store/database.ts';
import { dropLease, readGeneration, renewLease } from '../../store/routes.ts';

/** The lease of a gateway that lives for as long as the test, however seldom the machine lets it renew. */
export async function lastingLease(db: Database, id: string, acknowledged: number): Promise<void> {
  await renewLease(db, id, acknowledged);
  await db.query(`update gateways set renewed_at = now() + interval '1 hour' where id = $1`, [id]);
}

/** A live gateway that has the route table of now, and takes no newer one until `goOn` is called; for one test. */
export async function slowGateway(t: TestContext, db: Database): Promise<{ id: string; goOn: () => void }> {
  const id = `gateway-${process.hrtime.bigint()}`;
  let follows = false;
  let ended = false;
  await lastingLease(db, id, await readGeneration(db));
  const following = (async () => {
    while (!ended) {
      if (follows) await lastingLease(db, id, await readGeneration(db));
      await delay(100);
    }
  })();
  t.after(async () => {
    ended = true;
    await following;
    await dropLease(db, id);
  });
  return {
    id,
    goOn: () => {
      follows = true;
    },
  };
}
