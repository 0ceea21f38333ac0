import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { stringify } from 'yaml';
import { SlipwayError } from '../../domain/errors.ts';

/** Dynamic config of the server as temporal.yaml gives it: plain values by key. */
export type DynamicConfig = Readonly<Record<string, unknown>>;

/** The file format of the server: for each key a list of values under constraints, of which none are used here. */
export function renderDynamicConfig(values: DynamicConfig): string {
  const entries = Object.entries(values).map(([key, value]) => [key, [{ value, constraints: {} }]]);
  return stringify(Object.fromEntries(entries));
}

/**
 * Lets the server judge the file, since only it knows its keys; left to itself it would log a wrong one and use the default.
 * @throws SlipwayError TOPOLOGY_INVALID naming the key in temporal.yaml
 */
export async function checkDynamicConfig(
  program: string,
  file: string,
  values: DynamicConfig,
): Promise<void> {
  const { stdout } = await promisify(execFile)(program, ['validate-dynamic-config', file]);
  const problem = /^\s+(?:error|warning): (.+)$/m.exec(stdout)?.[1];
  if (problem === undefined) return;
  const named = /"([^"]+)"/.exec(problem)?.[1]; // the server writes its keys in lower case
  const key = Object.keys(values).find((name) => name.toLowerCase() === named) ?? named ?? '';
  throw new SlipwayError('TOPOLOGY_INVALID', `The Temporal server refuses its dynamic config: ${problem}`, {
    field: `localServer.dynamicConfig.${key}`,
    value: values[key],
    remedy: 'Correct the key or the value, or remove it.',
  });
}
