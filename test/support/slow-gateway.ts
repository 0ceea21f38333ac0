import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../../store/database.ts';
import { dropLease, readGeneration, renewLease } from '../../store/routes.ts';

/** A live gateway that has the route table of now, and takes no newer one until `goOn` is called; for one test. */
export async function slowGateway(t: TestContext, db: Database): Promise<{ id: string; goOn: () => void }> {
  const id = `gateway-${process.hrtime.bigint()}`;
  let acknowledged = await readGeneration(db);
  let follows = false;
  let ended = false;
  await renewLease(db, id, acknowledged);
  const renewing = (async () => {
    while (!ended) {
      if (follows) acknowledged = await readGeneration(db);
      await renewLease(db, id, acknowledged);
      await delay(100);
    }
  })();
  t.after(async () => {
    ended = true;
    await renewing;
    await dropLease(db, id);
  });
  return {
    id,
    goOn: () => {
      follows = true;
    },
  };
}
