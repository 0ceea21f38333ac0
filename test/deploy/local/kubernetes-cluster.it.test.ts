import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { AuthorizationV1Api, CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import {
  type Cluster,
  configuredCluster,
  startLocalCluster,
} from '../../../deploy/local/kubernetes/cluster.ts';
import { kubernetesPrograms } from '../../../deploy/local/kubernetes/control-plane.ts';
import { freePort } from '../../../deploy/local/ports.ts';
import { Supervisor } from '../../../deploy/local/processes.ts';
import { SlipwayError } from '../../../domain/errors.ts';
import { temporaryFolder } from '../../support/stack.ts';

const folder = temporaryFolder();
const supervisor = new Supervisor();
let cluster: Cluster;
before(async () => {
  cluster = await startLocalCluster({
    supervisor,
    programs: await kubernetesPrograms(() => {}),
    state: folder.path,
    port: await freePort(),
    env: {},
  });
});
after(async () => {
  await supervisor.stopAll();
  folder.remove();
});

const configOf = (file: string | undefined): KubeConfig => {
  const config = new KubeConfig();
  config.loadFromFile(file ?? '');
  return config;
};

async function may(config: KubeConfig, verb: string, group: string, resource: string): Promise<boolean> {
  const resourceAttributes = { namespace: 'slipway', verb, group, resource };
  const review = await config
    .makeApiClient(AuthorizationV1Api)
    .createSelfSubjectAccessReview({ body: { spec: { resourceAttributes } } });
  return review.status?.allowed === true;
}

test('the simulated nodes offer GPUs', async () => {
  const { items } = await configOf(cluster.control?.kubeconfig).makeApiClient(CoreV1Api).listNode();
  const gpus = items.map(({ status }) => Number(status?.allocatable?.['nvidia.com/gpu']));
  assert.deepEqual(gpus, [4, 4]);
});

test('worker and gateway have the rights of the chart, and no administrator’s', async () => {
  const worker = configOf(cluster.worker.KUBECONFIG);
  const gateway = configOf(cluster.gateway.KUBECONFIG);
  assert.equal(await may(worker, 'patch', 'apps', 'deployments'), true);
  assert.equal(await may(worker, 'create', 'rbac.authorization.k8s.io', 'roles'), false);
  assert.equal(await may(gateway, 'watch', 'discovery.k8s.io', 'endpointslices'), true);
  assert.equal(await may(gateway, 'delete', 'apps', 'deployments'), false);
  assert.equal(await may(gateway, 'get', '', 'secrets'), false);
});

test('a configured cluster needs its settings', () => {
  assert.throws(
    () => configuredCluster({ KUBECONFIG: cluster.control?.kubeconfig }, () => {}),
    (error) => error instanceof SlipwayError && error.details.field === 'SLIPWAY_CLUSTER_FILE',
  );
});
