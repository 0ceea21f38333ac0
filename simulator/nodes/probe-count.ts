export interface Thresholds {
  successThreshold: number;
  failureThreshold: number;
}

/** What a row of probes says: a result changes only after as many equal outcomes in a row as its threshold asks for. */
export interface ProbeCount {
  result: 'unknown' | 'success' | 'failure';
  /** The latest outcome and how often it came in a row. */
  latest: 'success' | 'failure' | undefined;
  inARow: number;
}

export const nothingProbed: ProbeCount = { result: 'unknown', latest: undefined, inARow: 0 };

export function counted(count: ProbeCount, healthy: boolean, thresholds: Thresholds): ProbeCount {
  const latest = healthy ? 'success' : 'failure';
  const inARow = count.latest === latest ? count.inARow + 1 : 1;
  const needed = healthy ? thresholds.successThreshold : thresholds.failureThreshold;
  return { result: inARow >= needed ? latest : count.result, latest, inARow };
}
