import { Connection } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { SlipwayError } from '../../domain/errors.ts';

/**
 * Where Temporal is, as its standard environment configuration says: TEMPORAL_ADDRESS and the like, and temporal.toml profiles. Variables
 * given here stand over those of the process.
 */
export function temporalConfig(
  variables: Readonly<Record<string, string>> = {},
): ReturnType<typeof loadClientConnectConfig> {
  const environment = Object.entries({ ...process.env, ...variables });
  const given = environment.filter((entry): entry is [string, string] => entry[1] !== undefined);
  return loadClientConnectConfig({ overrideEnvVars: Object.fromEntries(given) });
}

/** Connects with the standard environment configuration. Throws DEPENDENCY_UNAVAILABLE when the server does not answer. */
export async function connectTemporal(variables: Readonly<Record<string, string>> = {}): Promise<Connection> {
  const { connectionOptions } = temporalConfig(variables);
  try {
    return await Connection.connect(connectionOptions);
  } catch (cause) {
    const address = connectionOptions.address ?? 'localhost:7233';
    throw new SlipwayError(
      'DEPENDENCY_UNAVAILABLE',
      `Temporal does not answer at ${address}`,
      { field: 'TEMPORAL_ADDRESS', value: address, remedy: 'Start the server, or set TEMPORAL_ADDRESS.' },
      { cause },
    );
  }
}
