const PATTERN =
  /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:Z|([+-])(\d\d)(?::?(\d\d))?)$/;

/**
 * ms since 1970 of a time in ISO 8601 with `Z` or an offset (`±hh`, `±hhmm`, `±hh:mm`); a blank may stand for the T, as Postgres prints it.
 * Parts of a millisecond are dropped. null: it is none, or a day or an hour that does not exist.
 */
export function parseIsoTime(text: string): number | null {
  const match = PATTERN.exec(text);
  if (match === null) return null;
  const part = (group: number) => Number(match[group] ?? 0);
  const [year, month, day, hour, minute, second] = [part(1), part(2), part(3), part(4), part(5), part(6)];
  const midnight = new Date(Date.UTC(year, month - 1, day));
  const exists =
    midnight.getUTCFullYear() === year &&
    midnight.getUTCMonth() === month - 1 &&
    midnight.getUTCDate() === day;
  const [offsetHours, offsetMinutes] = [part(9), part(10)];
  if (!exists || hour > 23 || minute > 59 || second > 59 || offsetHours > 15 || offsetMinutes > 59)
    return null;
  const ms = Number((match[7] ?? '').slice(0, 3).padEnd(3, '0'));
  const local = midnight.getTime() + ((hour * 60 + minute) * 60 + second) * 1000 + ms;
  const offset = (offsetHours * 60 + offsetMinutes) * 60_000;
  return match[8] === '-' ? local + offset : local - offset;
}
