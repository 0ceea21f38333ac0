import { CommanderError } from 'commander';
import { SlipwayError } from '../domain/errors.ts';
import { UnreachableError } from './client.ts';
import type { Output } from './output.ts';

/** How `slipway` ends; scripts may rely on it. */
export const EXIT = {
  ok: 0,
  /** Refused with a coded error, or the release that was watched did not end promoted. */
  refused: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The API, or the system that the command talks to, does not answer. */
  unreachable: 3,
  /** A defect of the command line itself. */
  defect: 70,
} as const;

/** A wrong command line that commander cannot see. */
export class UsageError extends Error {}

/** Tells what went wrong, in the way that the caller asked for. @returns the exit code */
export function report(error: unknown, output: Output): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof UsageError) {
    tell(output, 'USAGE', error.message, {});
    return EXIT.usage;
  }
  if (error instanceof UnreachableError) {
    tell(output, 'UNREACHABLE', error.message, { remedy: error.remedy });
    return EXIT.unreachable;
  }
  if (error instanceof SlipwayError) {
    tell(output, error.code, error.message, error.details);
    return error.code === 'DEPENDENCY_UNAVAILABLE' ? EXIT.unreachable : EXIT.refused;
  }
  throw error;
}

function tell(
  output: Output,
  code: string,
  message: string,
  details: { field?: string | undefined; value?: unknown; remedy?: string | undefined },
): void {
  if (output.json) {
    output.result({ error: { code, message, ...details } }, () => {});
    return;
  }
  const { field, value, remedy } = details;
  console.error(`${output.style('red', code)}: ${message}`);
  if (field) console.error(`  field   ${field}${value === undefined ? '' : ` = ${JSON.stringify(value)}`}`);
  if (remedy) console.error(`  remedy  ${remedy}`);
}
