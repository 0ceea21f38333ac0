const units = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type Unit = keyof typeof units;

/** What people write in YAML: a number and a unit, e.g. `250ms`, `90s`, `5m`, `12h`, `7d`, `1.5h`. */
export const durationPattern = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** Milliseconds of a duration as people write it; null when it is none. Fractions of a millisecond are rounded. */
export function parseDuration(text: string): number | null {
  const match = durationPattern.exec(text);
  if (match === null) return null;
  const ms = Math.round(Number(match[1]) * units[match[2] as Unit]);
  return Number.isSafeInteger(ms) ? ms : null;
}

/** The shortest way to write whole milliseconds ≥ 0 with one unit; parseDuration returns the same number. */
export function formatDuration(ms: number): string {
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    if (ms > 0 && ms % units[unit] === 0) return `${ms / units[unit]}${unit}`;
  }
  return `${ms}ms`;
}
