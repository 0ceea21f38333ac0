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

/** The same of a defect, with where it happened. */
export function defectForLog(error: unknown): { error: string; code?: string; at?: string[] } {
  if (!(error instanceof Error)) return errorForLog(error);
  // The message stands before the frames, and may have lines that look like one.
  const frames = (error.stack ?? '').replace(error.message, () => '').match(/^ +at .*$/gm) ?? [];
  return { ...errorForLog(error), at: frames.map((frame) => frame.trim()) };
}
