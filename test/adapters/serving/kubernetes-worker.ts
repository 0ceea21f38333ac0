/**
 * A worker that is killed while it applies or removes a serving: `node kubernetes-worker.ts KUBECONFIG NAMESPACE apply|remove`. It says
 * `begun` on stdout when it is about to, and `done` after it.
 */

import { loadKubeConfig } from '../../../adapters/kubernetes/config.ts';
import { createKubernetesServing } from '../../../adapters/serving/kubernetes/kubernetes.ts';
import { silentLog } from '../../support/log.ts';
import { exampleServing } from '../../support/servings.ts';
import { settingsFor } from './kubernetes-support.ts';

const [kubeconfig, namespace = '', action] = process.argv.slice(2);
const adapter = createKubernetesServing({
  kubeConfig: loadKubeConfig({ KUBECONFIG: kubeconfig }),
  settings: settingsFor(namespace),
  log: silentLog,
});
const serving = exampleServing(2);
process.stdout.write('begun\n');
if (action === 'apply') await adapter.apply(serving);
else await adapter.remove(serving.digest);
process.stdout.write('done\n');
