import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { freePort } from '../ports.ts';
import { answersHttp } from '../probe.ts';
import type { ManagedProcess, Supervisor } from '../processes.ts';
import type { Say } from '../tools/build.ts';
import { resolveTool } from '../tools/resolve.ts';
import { etcd, kubeApiserver, kubeControllerManager, kubeScheduler } from '../tools/spec.ts';
import { type Credentials, credentialsIn, writeKubeconfig } from './credentials.ts';

/** The programs of a control plane. */
export interface KubernetesPrograms {
  etcd: string;
  apiServer: string;
  controllerManager: string;
  scheduler: string;
}

/** Gets the programs, one after the other: a first start builds for minutes. */
export async function kubernetesPrograms(say: Say): Promise<KubernetesPrograms> {
  return {
    etcd: await resolveTool(etcd, { say }),
    apiServer: await resolveTool(kubeApiserver, { say }),
    controllerManager: await resolveTool(kubeControllerManager, { say }),
    scheduler: await resolveTool(kubeScheduler, { say }),
  };
}

export interface KubernetesOptions {
  supervisor: Supervisor;
  programs: KubernetesPrograms;
  /** Folder that keeps the objects, the credentials and the logs. */
  state: string;
  /** Port of the API server. */
  port: number;
  /** Gives up durability for speed: for tests. */
  volatile?: boolean;
}

/** A control plane without nodes: whoever wants pods to run brings the nodes. */
export interface LocalKubernetes {
  url: string;
  /** File with the credentials of an administrator. */
  kubeconfig: string;
  etcd: ManagedProcess;
  /** May be killed and started again: the objects, the address and the credentials stay. */
  apiServer: ManagedProcess;
  controllerManager: ManagedProcess;
  scheduler: ManagedProcess;
  /** Stops the control plane before its supervisor does. */
  stop: () => Promise<void>;
}

/** Those that serving and the chart need, and nothing that a cloud or a kubelet would have to answer. */
const CONTROLLERS = [
  'clusterrole-aggregation-controller',
  'deployment-controller',
  'disruption-controller',
  'endpointslice-controller',
  'garbage-collector-controller',
  'job-controller',
  'namespace-controller',
  'node-lifecycle-controller',
  'persistentvolume-binder-controller',
  'persistentvolume-protection-controller',
  'persistentvolumeclaim-protection-controller',
  'pod-garbage-collector-controller',
  'replicaset-controller',
  'resourcequota-controller',
  'root-ca-certificate-publisher-controller',
  'serviceaccount-controller',
  'serviceaccount-token-controller',
  'taint-eviction-controller',
];

/** Requests a second that a controller or the scheduler may make: the default would slow a busy test down. */
const CLIENT_QPS = 200;

/** Status of a GET, 0 when nothing answers. Without an authority the answer's certificate is not judged: for loopback alone. */
function statusOf(url: string, { ca, token }: { ca?: Buffer; token?: string } = {}): Promise<number> {
  return new Promise((resolve) => {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const trust = ca ? { ca } : { rejectUnauthorized: false };
    const request = get(url, { ...trust, headers, agent: false, timeout: 2000 }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    request.once('timeout', () => request.destroy());
    request.once('error', () => resolve(0));
  });
}

function etcdArgs(data: string, url: string, peerUrl: string, volatile: boolean): string[] {
  return [
    `--data-dir=${data}`,
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    `--listen-peer-urls=${peerUrl}`,
    `--initial-advertise-peer-urls=${peerUrl}`,
    `--initial-cluster=default=${peerUrl}`,
    '--log-level=warn',
    ...(volatile ? ['--unsafe-no-fsync'] : []),
  ];
}

function apiServerArgs(credentials: Credentials, etcdUrl: string, port: number): string[] {
  const issuer = 'https://kubernetes.default.svc';
  return [
    `--etcd-servers=${etcdUrl}`,
    '--bind-address=127.0.0.1',
    '--advertise-address=127.0.0.1',
    `--secure-port=${port}`,
    `--cert-dir=${credentials.certificateFolder}`,
    // The Service `kubernetes` stays without endpoints, for an EndpointSlice takes no loopback address.
    '--endpoint-reconciler-type=none',
    '--service-cluster-ip-range=10.96.0.0/16',
    `--token-auth-file=${credentials.tokenFile}`,
    '--authorization-mode=Node,RBAC',
    `--service-account-issuer=${issuer}`,
    `--service-account-key-file=${credentials.serviceAccountKey}`,
    `--service-account-signing-key-file=${credentials.serviceAccountKey}`,
    // Ends open watches two seconds after a stop is asked for: by default they hold it up for a minute.
    '--shutdown-send-retry-after',
    '--profiling=false',
  ];
}

function controllerManagerArgs(credentials: Credentials, kubeconfig: string, port: number): string[] {
  return [
    `--kubeconfig=${kubeconfig}`,
    '--bind-address=127.0.0.1',
    `--secure-port=${port}`,
    '--leader-elect=false',
    `--controllers=${CONTROLLERS.join(',')}`,
    '--use-service-account-credentials',
    `--service-account-private-key-file=${credentials.serviceAccountKey}`,
    `--root-ca-file=${credentials.certificateFile}`,
    `--kube-api-qps=${CLIENT_QPS}`,
    `--kube-api-burst=${2 * CLIENT_QPS}`,
    '--resource-quota-sync-period=10s',
    '--profiling=false',
  ];
}

/** Retries an unschedulable pod within two seconds, so that a test need not wait for what it has just made possible. */
function schedulerConfig(kubeconfig: string): object {
  return {
    apiVersion: 'kubescheduler.config.k8s.io/v1',
    kind: 'KubeSchedulerConfiguration',
    clientConnection: { kubeconfig, qps: CLIENT_QPS, burst: 2 * CLIENT_QPS },
    leaderElection: { leaderElect: false },
    enableProfiling: false,
    parallelism: 2,
    podInitialBackoffSeconds: 1,
    podMaxBackoffSeconds: 2,
  };
}

/** Starts etcd, the API server with RBAC, the controller manager and the scheduler, on a state that survives. */
export async function startLocalKubernetes(options: KubernetesOptions): Promise<LocalKubernetes> {
  const { supervisor, programs, port, volatile = false } = options;
  const state = join(options.state, 'kubernetes');
  mkdirSync(state, { recursive: true });
  const credentials = credentialsIn(join(state, 'credentials'));
  const { tokens, certificateFile } = credentials;
  const log = (name: string): string => join(options.state, 'logs', `${name}.log`);
  const loopback = (onPort: number, scheme = 'https'): string => `${scheme}://127.0.0.1:${onPort}`;

  const etcdUrl = loopback(await freePort(), 'http');
  const etcdProcess = await supervisor.start({
    name: 'etcd',
    command: programs.etcd,
    args: etcdArgs(join(state, 'etcd'), etcdUrl, loopback(await freePort(), 'http'), volatile),
    cwd: state,
    logFile: log('etcd'),
    ready: () => answersHttp(`${etcdUrl}/readyz`),
  });

  const url = loopback(port);
  const apiAnswers = async (path: string): Promise<boolean> =>
    (await statusOf(`${url}${path}`, { ca: readFileSync(certificateFile), token: tokens.admin })) === 200;
  const apiServer = await supervisor.start({
    name: 'Kubernetes API server',
    command: programs.apiServer,
    args: apiServerArgs(credentials, etcdUrl, port),
    cwd: state,
    logFile: log('kube-apiserver'),
    ready: () => apiAnswers('/readyz'),
    readyTimeoutMs: 120_000,
  });

  const configFor = (name: string, token: string): string => {
    const file = join(state, `${name}.kubeconfig`);
    writeKubeconfig(file, url, certificateFile, token);
    return file;
  };
  const managerPort = await freePort();
  const schedulerPort = await freePort();
  const schedulerFile = join(state, 'scheduler.yaml');
  writeFileSync(schedulerFile, stringify(schedulerConfig(configFor('scheduler', tokens.scheduler))));
  const [controllerManager, scheduler] = await Promise.all([
    supervisor.start({
      name: 'Kubernetes controller manager',
      command: programs.controllerManager,
      args: controllerManagerArgs(
        credentials,
        configFor('controller-manager', tokens.controllerManager),
        managerPort,
      ),
      cwd: state,
      logFile: log('kube-controller-manager'),
      ready: async () =>
        (await statusOf(`${loopback(managerPort)}/healthz`)) === 200 &&
        apiAnswers('/api/v1/namespaces/default/serviceaccounts/default'),
    }),
    supervisor.start({
      name: 'Kubernetes scheduler',
      command: programs.scheduler,
      args: [`--config=${schedulerFile}`, '--bind-address=127.0.0.1', `--secure-port=${schedulerPort}`],
      cwd: state,
      logFile: log('kube-scheduler'),
      ready: async () => (await statusOf(`${loopback(schedulerPort)}/healthz`)) === 200,
    }),
  ]);

  const stop = async (): Promise<void> => {
    await Promise.all([controllerManager.stop(), scheduler.stop()]);
    await apiServer.stop();
    await etcdProcess.stop();
  };
  const kubeconfig = configFor('admin', tokens.admin);
  return { url, kubeconfig, etcd: etcdProcess, apiServer, controllerManager, scheduler, stop };
}
