import { SlipwayError } from '../errors.ts';
import type { FlagValue, RuntimeSpec } from './serving.ts';

/** A flag by its long name; vLLM takes underscores for dashes, so the lookup does. */
export function flagOf(runtime: RuntimeSpec, name: string): FlagValue | undefined {
  const entry = Object.entries(runtime.flags).find(([key]) => key.replaceAll('_', '-') === name);
  return entry?.[1];
}

const decimal: Record<string, number> = { k: 1e3, m: 1e6, g: 1e9, t: 1e12 };
const binary: Record<string, number> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 };

/**
 * A positive whole number as vLLM reads it: `8192`, `8k` (8000) or `8K` (8192); decimals with the small letters only.
 * Source: vLLM `engine/arg_utils.py`, human_readable_int.
 * @throws SlipwayError INPUT_INVALID naming the flag
 */
export function countFlag(runtime: RuntimeSpec, name: string): number | undefined {
  const value = flagOf(runtime, name);
  if (value === undefined) return undefined;
  const match = /^(\d+)(\.\d+)?([kKmMgGtT])?$/.exec(String(value).trim());
  const [, whole = '', fraction = '', unit = ''] = match ?? [];
  const factor = unit === '' ? 1 : (decimal[unit] ?? binary[unit] ?? Number.NaN);
  const count = Math.trunc(Number(whole + fraction) * factor);
  if (match === null || (fraction !== '' && decimal[unit] === undefined) || count < 1) {
    throw new SlipwayError('INPUT_INVALID', `--${name} is not a positive whole number: ${String(value)}`, {
      field: `runtime.flags.${name}`,
      value,
      remedy: 'Give a number of tokens or devices, e.g. 8192 or 8K',
    });
  }
  return count;
}

/**
 * A share above 0 and at most 1.
 * @throws SlipwayError INPUT_INVALID naming the flag
 */
export function shareFlag(runtime: RuntimeSpec, name: string): number | undefined {
  const value = flagOf(runtime, name);
  if (value === undefined) return undefined;
  const share = typeof value === 'boolean' || value === '' ? Number.NaN : Number(value);
  if (!(share > 0 && share <= 1)) {
    throw new SlipwayError(
      'INPUT_INVALID',
      `--${name} is not a share above 0 and at most 1: ${String(value)}`,
      {
        field: `runtime.flags.${name}`,
        value,
        remedy: 'Give a number such as 0.9',
      },
    );
  }
  return share;
}

/** The flags as command-line arguments, in the order of their names, so that one runtime gives one command line. */
export function flagArguments(runtime: RuntimeSpec): string[] {
  return Object.entries(runtime.flags)
    .map(([key, value]) => [key.replaceAll('_', '-'), value] as const)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .flatMap(([name, value]) => {
      if (value === true) return [`--${name}`];
      if (value === false) return [`--no-${name}`];
      return [`--${name}`, String(value)];
    });
}
