import { SlipwayError } from './errors.ts';

/**
 * What may be logged of an error. A database's own error is named by its code only, because its message and details may quote the row, and
 * with it what a user wrote (invariant 13).
 */
export function errorForLog(error: unknown): { error: string; code?: string } {
  if (!(error instanceof Error)) return { error: 'unknown' };
  const { code, severity } = error as { code?: unknown; severity?: unknown };
  const shown = severity === undefined ? error.message : error.name;
  return typeof code === 'string' ? { error: shown, code } : { error: shown };
}

export interface LoggedDefect {
  error: string;
  code?: string;
  at?: string[];
  cause?: LoggedDefect;
}

/** The same of a defect and of what caused it, with where they happened. */
export function defectForLog(error: unknown): LoggedDefect {
  if (!(error instanceof Error)) return errorForLog(error);
  // The message stands before the frames, and may have lines that look like one.
  const frames = (error.stack ?? '').replace(error.message, () => '').match(/^ +at .*$/gm) ?? [];
  const at = frames.map((frame) => frame.trim());
  const cause = error.cause instanceof Error ? { cause: defectForLog(error.cause) } : {};
  return { ...errorForLog(error), at, ...cause };
}

/** Why a process cannot start: what its user can mend, or where it happened. */
export function fatalForLog(error: unknown): object {
  return error instanceof SlipwayError ? error.toJSON() : defectForLog(error);
}
