import { SlipwayError } from './errors.ts';

/** What a process is told by its environment. Every function throws SlipwayError INPUT_INVALID, which names the variable. */
export type Environment = Readonly<Record<string, string | undefined>>;

export function requiredSetting(env: Environment, name: string, remedy: string): string {
  const value = env[name];
  if (value) return value;
  throw new SlipwayError('INPUT_INVALID', `${name} is not set`, { field: name, remedy });
}

/** A port to listen on; 0: any free one. An empty variable is none. */
export function portSetting(env: Environment, name: string, otherwise: number): number {
  return wholeNumber(env, name, 0, 65_535) ?? otherwise;
}

/** A number of things, at least one; undefined: not set. */
export function countSetting(env: Environment, name: string): number | undefined {
  return wholeNumber(env, name, 1, Number.MAX_SAFE_INTEGER);
}

function wholeNumber(env: Environment, name: string, least: number, most: number): number | undefined {
  const value = env[name];
  if (!value) return undefined;
  const number = Number(value);
  if (/^\d+$/.test(value) && number >= least && number <= most) return number;
  const bounds = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`;
  throw new SlipwayError('INPUT_INVALID', `${name} must be a whole number ${bounds}`, {
    field: name,
    value,
    remedy: 'Correct it, or leave it out',
  });
}
