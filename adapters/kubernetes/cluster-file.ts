import { readFile } from 'node:fs/promises';
import { SlipwayError } from '../../domain/errors.ts';
import { type ClusterSettings, parseClusterSettings } from '../../domain/kubernetes/settings.ts';

const VARIABLE = 'SLIPWAY_CLUSTER_FILE';

/**
 * The cluster's settings from the file that SLIPWAY_CLUSTER_FILE names; null when it names none.
 * @throws SlipwayError INPUT_INVALID when the file cannot be read or is not valid
 */
export async function loadClusterSettings(
  env: Readonly<Record<string, string | undefined>>,
): Promise<ClusterSettings | null> {
  const file = env[VARIABLE];
  if (!file) return null;
  const yaml = await readFile(file, 'utf8').catch((cause: Error) => {
    throw new SlipwayError(
      'INPUT_INVALID',
      `the cluster's settings cannot be read: ${cause.message}`,
      { field: VARIABLE, value: file, remedy: 'Name a file that exists and that this process may read' },
      { cause },
    );
  });
  try {
    return parseClusterSettings(yaml);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    throw new SlipwayError(error.code, `${file}: ${error.message}`, error.details, { cause: error });
  }
}
