import type { Policy } from '../domain/policy/policy.ts';
import type { Queryable } from './database.ts';
import { experimentOf } from './ledger.ts';

/** The newest batches hold the newest samples; so many are looked at. */
const NEWEST = 1_000;
/** If traffic has stopped, nothing newer will show that the ledger is complete: it is waited for so long at most, ms. */
const GRACE = 60_000;

export interface LagSubject {
  release: string;
  policy: Pick<Policy, 'gate'>;
  /** When the canary began, and the horizon; ms since 1970. */
  from: number;
  to: number;
  now: number;
}

/**
 * Why the ledger may not hold everything up to the horizon yet; null: it does, as far as one can know. It does when it has a sample from
 * after the horizon (gateways move their spools in order), or after a grace in which every gateway has had its turn; and when no answer from
 * before the horizon waits for its score, without which the last slice would seem to have none.
 */
export async function ledgerLag(db: Queryable, subject: LagSubject): Promise<string | null> {
  const { release, policy, from, to, now } = subject;
  const experiment = await experimentOf(db, release);
  const newest = await newestSample(db, experiment);
  if ((newest === null || newest < to) && now < to + Math.min(policy.gate.lookEvery, GRACE)) {
    return 'the ledger has no sample from after the horizon yet';
  }
  if (!policy.gate.metrics.some(({ metric }) => metric.startsWith('quality:'))) return null;
  const slices = Math.ceil((to - from) / policy.gate.stratum);
  const { rows } = await db.query<{ waiting: number }>(
    `select count(*) as waiting from scoring_queue q join samples s on s.id = q.request_id
      where s.experiment = $1 and s.arm is not null and s.stratum < $2`,
    [experiment, slices * 64],
  );
  const waiting = rows[0]?.waiting ?? 0;
  return waiting === 0 ? null : `${waiting} answers from before the horizon wait for their score`;
}

/** When the newest sample of a release arrived, ms since 1970. */
async function newestSample(db: Queryable, experiment: number | null): Promise<number | null> {
  const { rows } = await db.query<{ newest: Date | null }>(
    `select max(at) as newest from (
       select at from samples where experiment = $1 order by batch desc limit ${NEWEST}) newest`,
    [experiment],
  );
  return rows[0]?.newest?.getTime() ?? null;
}
