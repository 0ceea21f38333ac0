import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import { stringify } from 'yaml';
import { SlipwayError } from '../../../domain/errors.ts';
import { parseClusterSettings } from '../../../domain/kubernetes/settings.ts';
import type { Supervisor } from '../processes.ts';
import type { Say } from '../tools/build.ts';
import { API_KEY_SECRET, ensureAccess } from './access.ts';
import { type KubernetesPrograms, type LocalKubernetes, startLocalKubernetes } from './control-plane.ts';

const NODES = fileURLToPath(new URL('../../../simulator/nodes/main.ts', import.meta.url));
const NAMESPACE = 'slipway';

/** Two machines with four GPUs: the example needs three at most, and a replica may move. */
const GPU_NODES = ['gpu-1=4xA100-80GB', 'gpu-2=4xA100-80GB'];

/**
 * What the servings of this machine are told, in the file that a cluster's operator would write. No image is pulled here: the digest is a
 * name like any other. Its pods drain for five seconds instead of a minute, and find their model beside them.
 */
const settings = {
  namespace: NAMESPACE,
  image: `vllm/vllm-openai@sha256:${'0'.repeat(64)}`,
  apiKey: API_KEY_SECRET,
  gpus: { 'A100-80GB': { nodeSelector: { 'nvidia.com/gpu.product': 'A100-80GB' } } },
  modelCache: { emptyDir: '1Gi' },
  drain: '5s',
  modelHub: null,
};

export interface ClusterOptions {
  supervisor: Supervisor;
  programs: KubernetesPrograms;
  state: string;
  port: number;
  /** Handed on to the simulated vLLM: its SIMULATOR_* variables. */
  env: Readonly<Record<string, string>>;
}

type Environment = Readonly<Record<string, string>>;

/** Tells the processes of Slipway how they reach the cluster; on a local one each has the rights that the chart gives it. */
export interface Cluster {
  url: string;
  /** The control plane of this machine; undefined when the cluster is the configured one. */
  control: LocalKubernetes | undefined;
  /** Simulated nodes. */
  nodes: number;
  worker: Environment;
  gateway: Environment;
  api: Environment;
}

/** The cluster of KUBECONFIG, with the settings of SLIPWAY_CLUSTER_FILE; both reach the processes by the environment that they inherit. */
export function configuredCluster(env: NodeJS.ProcessEnv, say: Say): Cluster {
  const config = new KubeConfig();
  config.loadFromDefault();
  const url = config.getCurrentCluster()?.server ?? '';
  if (!env.SLIPWAY_CLUSTER_FILE) {
    throw new SlipwayError('INPUT_INVALID', 'SLIPWAY_CLUSTER_FILE is not set', {
      field: 'SLIPWAY_CLUSTER_FILE',
      remedy:
        "Name a file with the cluster's settings: vLLM's image, GPU kinds; docs/kubernetes.md has one. Or unset KUBECONFIG",
    });
  }
  say(`Kubernetes is the configured one at ${url}`);
  const shared = { SLIPWAY_SERVING: 'kubernetes' };
  return { url, control: undefined, nodes: 0, worker: shared, gateway: shared, api: {} };
}

/** A Kubernetes of this machine with simulated GPU nodes, on which vLLM's lookalike runs in pods. */
export async function startLocalCluster(options: ClusterOptions): Promise<Cluster> {
  const { supervisor, programs, state, port, env } = options;
  const control = await startLocalKubernetes({ supervisor, programs, state, port });
  const admin = new KubeConfig();
  admin.loadFromFile(control.kubeconfig);
  const access = await ensureAccess(admin, NAMESPACE);
  const folder = join(state, 'kubernetes');
  const credentials = (name: string, token: string): string => {
    const cluster = admin.getCurrentCluster();
    if (cluster === null) throw new TypeError('a kubeconfig that was just written names its cluster');
    const config = new KubeConfig();
    config.loadFromClusterAndUser(cluster, { name, token });
    const file = join(folder, `${name}.kubeconfig`);
    writeFileSync(file, config.exportConfig(), { mode: 0o600 });
    return file;
  };
  const clusterFile = join(folder, 'cluster.yaml');
  const text = stringify(settings);
  parseClusterSettings(text);
  writeFileSync(clusterFile, text);

  const nodesState = join(state, 'nodes');
  mkdirSync(nodesState, { recursive: true });
  const core = admin.makeApiClient(CoreV1Api);
  await supervisor.start({
    name: 'nodes',
    command: process.execPath,
    // The nodes stay with the state: pods of a node that is gone would be collected at the next start.
    args: [NODES, '--state', nodesState, '--keep-nodes', ...GPU_NODES.flatMap((node) => ['--node', node])],
    env: { ...env, KUBECONFIG: control.kubeconfig },
    cwd: state,
    logFile: join(state, 'logs', 'nodes.log'),
    ready: async () => {
      const { items } = await core.listNode();
      const ready = items.filter(({ status }) =>
        status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
      );
      return ready.length === GPU_NODES.length;
    },
  });
  const shared = {
    SLIPWAY_SERVING: 'kubernetes',
    SLIPWAY_CLUSTER_FILE: clusterFile,
    SLIPWAY_VLLM_API_KEY: access.apiKey,
  };
  return {
    url: control.url,
    control,
    nodes: GPU_NODES.length,
    worker: { ...shared, KUBECONFIG: credentials('worker', access.worker) },
    gateway: { ...shared, KUBECONFIG: credentials('gateway', access.gateway) },
    api: { SLIPWAY_CLUSTER_FILE: clusterFile },
  };
}
