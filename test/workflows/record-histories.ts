/**
 * Records the histories of the example releases of a running stack for the replay test:
 *   TEMPORAL_CONFIG_FILE=.slipway/example/temporal.toml node test/workflows/record-histories.ts install=WORKFLOW_ID better=WORKFLOW_ID …
 */
import { writeFile } from 'node:fs/promises';
import { Client } from '@temporalio/client';
import proto from '@temporalio/proto';
import { connectTemporal } from '../../adapters/temporal/connection.ts';
import { loadTopology } from '../../adapters/temporal/topology.ts';

const { History } = proto.temporal.api.history.v1;
const connection = await connectTemporal();
const client = new Client({ connection, namespace: (await loadTopology()).namespace.name });
for (const argument of process.argv.slice(2)) {
  const [name, workflowId] = argument.split('=', 2);
  if (!name || !workflowId) throw new Error(`${argument} is not NAME=WORKFLOW_ID`);
  const history = await client.workflow.getHandle(workflowId).fetchHistory();
  const plain = History.toObject(History.fromObject(history), {
    enums: String,
    longs: String,
    bytes: String,
  });
  // Stack traces name folders of this machine, and replay does not read them.
  const text = JSON.stringify(plain, (key, value) => (key === 'stackTrace' ? '' : value), 2);
  await writeFile(new URL(`./histories/${name}.history.json`, import.meta.url), `${text}\n`);
  console.log(`${name}: ${history.events?.length} events, ${Buffer.byteLength(text)} bytes`);
}
await connection.close();
