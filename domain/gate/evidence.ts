import { canonicalJson, digestOf } from '../digest.ts';
import type { ArmInfluence, GateFigures, Verdict } from './types.ts';

/** What a verdict was made from, and how it is kept so that it can be recomputed byte for byte. */

/** Figures as plain JSON: integers as decimal strings, rows in one order whatever the order of the query. */
export function figuresAsJson(figures: GateFigures): unknown {
  const { totals, sums } = figures;
  return {
    totals: {
      ...totals,
      traffic: ordered(totals.traffic),
      metrics: ordered(
        totals.metrics.map((row) => ({ ...row, sum: String(row.sum), squares: String(row.squares) })),
      ),
      buckets: ordered(totals.buckets),
      unusable: ordered(totals.unusable),
    },
    sums: ordered(
      sums.map(({ guard, arms }) => ({
        guard,
        arms: { stable: influenceAsJson(arms.stable), canary: influenceAsJson(arms.canary) },
      })),
    ),
  };
}

function influenceAsJson(arm: ArmInfluence) {
  return {
    users: arm.users,
    positive: arm.positive,
    n2: String(arm.n2),
    own2: String(arm.own2),
    asStable2: String(arm.asStable2),
    asCanary2: String(arm.asCanary2),
  };
}

function ordered(rows: readonly unknown[]): unknown[] {
  return rows
    .map((row) => ({ row, key: canonicalJson(row) }))
    .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .map(({ row }) => row);
}

export function figuresDigest(figures: GateFigures): string {
  return digestOf(figuresAsJson(figures));
}

/** The text of a verdict: sorted keys, numbers in their shortest exact form. */
export function verdictText(verdict: Verdict): string {
  return canonicalJson(verdict);
}

/** What a sign-off binds: the digest of the verdict, and with it of the plan and of the figures. */
export function evidenceDigest(verdict: Verdict): string {
  return digestOf(verdict);
}
