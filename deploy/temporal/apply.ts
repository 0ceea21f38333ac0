import { type ApplyReport, applyTopology } from '../../adapters/temporal/apply.ts';
import { connectTemporal } from '../../adapters/temporal/connection.ts';
import { loadTopology } from '../../adapters/temporal/topology.ts';

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
