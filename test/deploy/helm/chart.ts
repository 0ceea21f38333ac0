import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { KubernetesObject } from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import { resolveTool } from '../../../deploy/local/tools/resolve.ts';
import { helm } from '../../../deploy/local/tools/spec.ts';

const CHART = fileURLToPath(new URL('../../../deploy/helm/slipway', import.meta.url));

/** An image that could be. */
export const image = { repository: 'registry.example/slipway', digest: `sha256:${'a'.repeat(64)}` };

/** What `helm template` makes of the chart. Rejects with Helm's own words. */
export async function renderChart(values: object, namespace = 'slipway'): Promise<KubernetesObject[]> {
  const program = await resolveTool(helm, { say: (line) => console.error(line) });
  const run = promisify(execFile)(program, [
    'template',
    'test',
    CHART,
    '--namespace',
    namespace,
    '--values',
    '-',
  ]);
  run.child.stdin?.end(JSON.stringify(values));
  const { stdout } = await run;
  return parseAllDocuments(stdout)
    .map((document) => document.toJS() as KubernetesObject | null)
    .filter((object) => object !== null);
}
