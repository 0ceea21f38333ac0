import { influenceRequests } from '../domain/gate/influence.ts';
import type { GateFigures, GateMetric } from '../domain/gate/types.ts';
import type { Database } from './database.ts';
import { readInfluences } from './gate-influences.ts';
import { inSnapshot } from './gate-snapshot.ts';
import { type GateWindow, readTotals } from './gate-totals.ts';
import { experimentOf, watermark } from './ledger.ts';

export type { GateWindow } from './gate-totals.ts';

export interface FrozenFigures {
  figures: GateFigures;
  /** The last batch that the figures hold; they hold every one up to it. */
  watermark: number;
}

/**
 * Both passes of the gate over a release's per-user rows, in one snapshot of the ledger. Sums over users are exact integers, so neither the
 * plan that Postgres chooses nor the order of its rows can change a figure: they equal those of domain/gate/in-memory.ts.
 */
export async function readFigures(
  db: Database,
  window: GateWindow,
  metrics: readonly GateMetric[],
): Promise<FrozenFigures> {
  return inSnapshot(db, async (snapshot) => {
    const frozen = await watermark(snapshot.tx);
    const experiment = await experimentOf(snapshot.tx, window.release);
    const totals = await readTotals(snapshot.tx, window, experiment, metrics);
    const requests = influenceRequests(metrics, totals);
    const rows = totals.traffic.reduce((sum, { users }) => sum + users, 0);
    const sums =
      experiment === null || requests.length === 0
        ? []
        : await readInfluences(snapshot, experiment, requests, rows);
    return { figures: { totals, sums }, watermark: frozen };
  });
}
