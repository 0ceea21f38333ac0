/** Applies one serving, as a worker would: STATE_DIR COMMAND_JSON SERVING_JSON. Says `applying` first, so that a test can kill it then. */
import { createLocalServing } from '../../adapters/serving/local/local.ts';

const [stateDir = '', command = '[]', serving = '{}'] = process.argv.slice(2);
const adapter = createLocalServing({ stateDir, command: JSON.parse(command) });
console.log('applying');
await adapter.apply(JSON.parse(serving));
console.log('applied');
