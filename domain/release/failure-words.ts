import type { WatchedGate, WatchedGuards } from './watching.ts';

/** So many requests failed for a reason: one of the gateway's `failureReasons`. */
export interface FailureCount {
  reason: string;
  count: number;
}

const MOST = 3;

const meanings: Record<string, string> = {
  variables: 'the request lacked what the prompt needs',
  no_endpoint: 'no replica answered',
  upstream_refused: 'no connection to the replica',
  upstream_timeout: 'the replica took too long',
  upstream_cut: 'the replica broke off',
  upstream_rejected: 'the replica refused the request',
  upstream_rate_limited: 'the replica had too much to do',
  upstream_error: 'the replica failed',
  upstream_invalid: 'the answer was none',
  client_closed: 'the client gave up before an answer',
};

/** `; on the canary: no_endpoint 19 (no replica answered), …`, the most frequent first: whether the candidate or its place failed. */
export function failureWords(failures: readonly FailureCount[]): string {
  if (failures.length === 0) return '';
  const told = failures
    .toSorted((a, b) => b.count - a.count || (a.reason < b.reason ? -1 : 1))
    .slice(0, MOST)
    .map(({ reason, count }) => {
      const meaning = meanings[reason];
      return `${reason} ${count}${meaning === undefined ? '' : ` (${meaning})`}`;
    });
  const rest = failures.length - told.length;
  return `${FAILURES}${told.join(', ')}${rest > 0 ? ` and ${rest} more reasons` : ''}`;
}

/** With this the words about failures begin, after those of the look. */
export const FAILURES = '; on the canary: ';

/** Do the looks stop the canary for its errors? Their words then name a number, but not what went wrong. */
export function isAboutErrors({
  guards,
  gate,
}: {
  guards: WatchedGuards;
  gate: WatchedGate | null;
}): boolean {
  if (guards.state === 'failed') {
    return guards.readings.some(({ metric, state }) => metric === 'errors' && state === 'failed');
  }
  if (gate === null || !gate.harm) return false;
  return gate.reasons.some(
    ({ code, guard }) => code === 'first-errors' || (code === 'harm' && guard === 'error'),
  );
}
