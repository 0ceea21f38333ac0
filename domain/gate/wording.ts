/** Numbers and durations as people read them, and figures as evidence keeps them. */

/**
 * A figure of the evidence: 12 significant digits. Sums are exact, so what differs between machines can only be the last bits of log and
 * exp; decisions are taken on the rounded figures, so an auditor who reads them takes the same ones. Never NaN or infinite.
 */
export function figure(value: number): number {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is not a figure`);
  return Number(value.toPrecision(12)) + 0;
}

/** Three significant digits, thousands apart. */
export function tidy(value: number): string {
  const [whole = '0', fraction] = String(Number(value.toPrecision(3))).split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

export function percent(value: number): string {
  return `${Number((value * 100).toPrecision(3))} %`;
}

const units: [string, number][] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
];

/** 604800000 → `7 d`; the largest unit that is at least 1. */
export function duration(ms: number): string {
  const [unit, length] = units.find(([, length]) => ms >= length) ?? ['s', 1000];
  return `${Number((ms / length).toPrecision(3))} ${unit}`;
}
