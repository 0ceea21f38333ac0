/**
 * Records the histories of the example releases of a running stack for the replay test:
 *   TEMPORAL_ADDRESS=… node test/workflows/record-histories.ts install=WORKFLOW_ID better=WORKFLOW_ID …
 */
import { writeFile } from 'node:fs/promises';
import { Client } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { connectTemporal } from '../../adapters/temporal/connection.ts';
import { loadTopology } from '../../adapters/temporal/topology.ts';

const connection = await connectTemporal();
const client = new Client({ connection, namespace: (await loadTopology()).namespace.name });
for (const argument of process.argv.slice(2)) {
  const [name, workflowId] = argument.split('=', 2);
  if (!name || !workflowId) throw new Error(`${argument} is not NAME=WORKFLOW_ID`);
  const history = await client.workflow.getHandle(workflowId).fetchHistory();
  const file = new URL(`./histories/${name}.history.json`, import.meta.url);
  await writeFile(file, `${historyToJSON(history)}\n`);
  console.log(
    `${name}: ${history.events?.length} events, ${Buffer.byteLength(historyToJSON(history))} bytes`,
  );
}
await connection.close();
