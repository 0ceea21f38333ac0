const DAY_MS = 86_400_000;

/** A gateway makes a request's id when it arrives, by its own clock; the sample's time is never so far from it. */
const TOLERANCE_MS = DAY_MS;

/** Requests whose samples are dated within a span, so that only its days are looked at. */
export interface RequestWindow {
  requests: string[];
  from: Date | '-infinity';
  to: Date | 'infinity';
}

/**
 * Sorts requests into spans of days by the time in their ids (UUID version 7). An id of another version says nothing: its sample may be
 * of any day.
 */
export function windowsOf(requests: readonly string[]): RequestWindow[] {
  return [...Map.groupBy(requests, dayOf)].map(([day, sameDay]) => ({
    requests: sameDay,
    from: day === null ? '-infinity' : new Date(day * DAY_MS - TOLERANCE_MS),
    to: day === null ? 'infinity' : new Date((day + 1) * DAY_MS + TOLERANCE_MS),
  }));
}

/** The day since 1970 (UTC) on which an id of version 7 was made; null: of another version. */
function dayOf(request: string): number | null {
  const hex = request.replaceAll('-', '');
  return hex[12] === '7' ? Math.floor(Number.parseInt(hex.slice(0, 12), 16) / DAY_MS) : null;
}
