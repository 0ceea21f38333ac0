import { type ApplyReport, applyTopology } from '../../adapters/temporal/apply.ts';
import { connectTemporal } from '../../adapters/temporal/connection.ts';
import { loadTopology } from '../../adapters/temporal/topology.ts';
import { setCurrentVersion } from '../../adapters/temporal/versions.ts';

export type { ApplyReport };

/**
 * Makes the Temporal cluster of the environment match temporal.yaml, or the file.
 * @throws SlipwayError TOPOLOGY_INVALID, DEPENDENCY_UNAVAILABLE
 */
export async function applyTemporal(file?: string): Promise<ApplyReport> {
  const topology = await loadTopology(file);
  const connection = await connectTemporal();
  try {
    return await applyTopology(topology, connection);
  } finally {
    await connection.close();
  }
}

/**
 * Lets new releases begin on the workers of this build; those under way stay on theirs. Waits until a worker of it polls.
 * @throws SlipwayError TOPOLOGY_INVALID, DEPENDENCY_UNAVAILABLE
 */
export async function setCurrentBuild(buildId: string, withinMs: number): Promise<void> {
  const topology = await loadTopology();
  const connection = await connectTemporal();
  try {
    await setCurrentVersion(connection, topology, buildId, withinMs);
  } finally {
    await connection.close();
  }
}
