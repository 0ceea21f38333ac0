import { type ErrorCode, SlipwayError } from './errors.ts';

/**
 * Refuses what a value cannot keep on its way through JSON and Postgres: the character 0, half a surrogate pair, a number that is not
 * finite. Losing one silently would make a digest lie.
 */
export function checkStorable(value: unknown, code: ErrorCode, field = ''): void {
  if (typeof value === 'string' && (value.includes('\0') || !value.isWellFormed())) {
    throw new SlipwayError(code, `${field} holds a character that is no text`, {
      field,
      remedy: 'Remove the NUL character or the half of a surrogate pair',
    });
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new SlipwayError(code, `${field} is no number that JSON can carry`, {
      field,
      value: String(value),
      remedy: 'Write a finite number',
    });
  }
  if (value === null || typeof value !== 'object') return;
  for (const [key, member] of Object.entries(value)) {
    const path = Array.isArray(value) ? `${field}[${key}]` : field === '' ? key : `${field}.${key}`;
    if (!Array.isArray(value)) checkStorable(key, code, path);
    checkStorable(member, code, path);
  }
}

/** A text from outside in the form that Postgres keeps: what is no character is replaced by U+FFFD. */
export function storableText(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\uFFFD');
}
