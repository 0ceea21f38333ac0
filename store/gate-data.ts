import { influenceRequests } from '../domain/gate/influence.ts';
import type { GateFigures, GateMetric } from '../domain/gate/types.ts';
import { type Database, inTransaction } from './database.ts';
import { readInfluences } from './gate-influences.ts';
import { type GateWindow, readTotals } from './gate-totals.ts';
import { watermark } from './ledger.ts';

export type { GateWindow } from './gate-totals.ts';

export interface FrozenFigures {
  figures: GateFigures;
  /** The last batch that the figures hold; they hold every one up to it. */
  watermark: number;
}

/**
 * Both passes of the gate over a release's per-user rows, in one snapshot of the ledger. Sums over users are exact integers, so neither the
 * plan that Postgres chooses nor its parallel workers can change a figure: they equal those of domain/gate/in-memory.ts.
 */
export async function readFigures(
  db: Database,
  window: GateWindow,
  metrics: readonly GateMetric[],
): Promise<FrozenFigures> {
  return inTransaction(db, async (tx) => {
    await tx.query('set transaction isolation level repeatable read, read only');
    const frozen = await watermark(tx);
    const totals = await readTotals(tx, window, metrics);
    const sums = await readInfluences(tx, window.release, influenceRequests(metrics, totals));
    return { figures: { totals, sums }, watermark: frozen };
  });
}
