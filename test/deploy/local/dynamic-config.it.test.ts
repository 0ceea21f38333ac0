import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { loadTopology } from '../../../adapters/temporal/topology.ts';
import {
  checkDynamicConfig,
  type DynamicConfig,
  renderDynamicConfig,
} from '../../../deploy/local/dynamic-config.ts';
import { resolveTool } from '../../../deploy/local/tools/resolve.ts';
import { temporalServer } from '../../../deploy/local/tools/spec.ts';
import { temporaryFolder } from '../../support/stack.ts';

const folder = temporaryFolder();
after(folder.remove);

let program: string;
before(async () => {
  program = await resolveTool(temporalServer, { say: console.error });
});

function check(values: DynamicConfig): Promise<void> {
  const file = join(folder.path, 'dynamic-config.yaml');
  writeFileSync(file, renderDynamicConfig(values));
  return checkDynamicConfig(program, file, values);
}

test("the server knows every key of the repository's topology", async () => {
  await check((await loadTopology()).localServer.dynamicConfig);
});

test('a key that the server does not know is refused by name', async () => {
  await assert.rejects(check({ 'history.timerProcessorMaxTimeShifts': '10ms' }), {
    code: 'TOPOLOGY_INVALID',
    details: {
      field: 'localServer.dynamicConfig.history.timerProcessorMaxTimeShifts',
      value: '10ms',
      remedy: 'Correct the key or the value, or remove it.',
    },
  });
});

test('a value that the server cannot read is refused by name', async () => {
  await assert.rejects(check({ 'history.timerProcessorMaxTimeShift': 'soon' }), {
    code: 'TOPOLOGY_INVALID',
    message: /invalid duration "soon"/,
  });
});
