/**
 * A real Kubernetes control plane for tests whose path contains `kubernetes`: run through test/run.ts they share one, each with
 * namespaces of its own in it; run alone, a test file starts its own, which takes four seconds. What has no namespace (nodes, ClusterRoles)
 * is shared too: a test that brings nodes which pods of others must not get, or that stops a part of the control plane, takes its own.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ApiException, CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import {
  kubernetesPrograms,
  type LocalKubernetes,
  startLocalKubernetes,
} from '../../deploy/local/kubernetes/control-plane.ts';
import { freePort } from '../../deploy/local/ports.ts';
import { waitUntil } from '../../deploy/local/probe.ts';
import { Supervisor } from '../../deploy/local/processes.ts';
import { PATIENCE_MS } from './patience.ts';
import { orNothing, SHARED_KUBECONFIG, temporaryFolder } from './stack.ts';

export interface TestKubernetesOptions {
  /** A control plane of its own even under test/run.ts. */
  own?: boolean;
}

export interface TestKubernetes {
  url: string;
  /** Credentials of an administrator. */
  admin: KubeConfig;
  /** The same in a file, for a process. */
  kubeconfig: string;
  /** Its processes when the test started its own, for fault tests; undefined when it shares one. */
  control: LocalKubernetes | undefined;
  /** Makes a namespace in which pods can be created. `stop()` removes it. */
  createNamespace: (labels?: Readonly<Record<string, string>>) => Promise<string>;
  /** Returns when the namespace and all that was in it are gone, pods that no node has ended included. */
  removeNamespace: (namespace: string) => Promise<void>;
  /** Any user, who exists by being named, as a member of one group if given: bind roles to either. */
  asUser: (name: string, group?: string) => KubeConfig;
  /** A ServiceAccount of the cluster, by a token for an hour. */
  asServiceAccount: (namespace: string, name: string) => Promise<KubeConfig>;
  /** Writes the credentials into a file for a process. Not those of `asUser` with a group: a kubeconfig that this client reads has none. */
  kubeconfigFile: (config: KubeConfig) => string;
  stop: () => Promise<void>;
}

/** A control plane with an administrator's credentials. */
export async function startKubernetes({ own = false }: TestKubernetesOptions = {}): Promise<TestKubernetes> {
  const shared = process.env[SHARED_KUBECONFIG];
  const folder = temporaryFolder();
  const server = shared && !own ? { kubeconfig: shared } : await ownKubernetes(folder.path);
  const { kubeconfig } = server;
  const admin = new KubeConfig();
  admin.loadFromFile(kubeconfig);
  const core = admin.makeApiClient(CoreV1Api);
  const namespaces = new Set<string>();
  return {
    url: admin.getCurrentCluster()?.server ?? '',
    admin,
    kubeconfig,
    control: 'control' in server ? server.control : undefined,
    createNamespace: async (labels = {}) => {
      const name = `test-${randomBytes(6).toString('hex')}`;
      await core.createNamespace({ body: { metadata: { name, labels } } });
      namespaces.add(name);
      await usable(core, name);
      return name;
    },
    removeNamespace: async (namespace) => {
      namespaces.delete(namespace);
      await askToGo(core, namespace);
      await gone(core, namespace);
    },
    asUser: (name, group) => impersonating(admin, name, group),
    asServiceAccount: async (namespace, name) => {
      const { status } = await core.createNamespacedServiceAccountToken({
        namespace,
        name,
        body: { spec: { audiences: [], expirationSeconds: 3600 } },
      });
      return withUser(admin, { token: status?.token ?? '' });
    },
    kubeconfigFile: (config) => {
      const file = join(folder.path, `kubeconfig-${randomBytes(6).toString('hex')}`);
      writeFileSync(file, config.exportConfig(), { mode: 0o600 });
      return file;
    },
    stop: async () => {
      if ('stop' in server) await server.stop();
      // Not waited for: a namespace takes five seconds to go, even an empty one.
      else await Promise.all([...namespaces].map((namespace) => askToGo(core, namespace)));
      folder.remove();
    },
  };
}

async function ownKubernetes(
  state: string,
): Promise<{ kubeconfig: string; control: LocalKubernetes; stop: () => Promise<void> }> {
  const programs = await kubernetesPrograms((line) => console.error(line));
  const supervisor = new Supervisor();
  const options = { supervisor, programs, state, port: await freePort(), volatile: true };
  const control = await orNothing(supervisor, startLocalKubernetes(options));
  return { kubeconfig: control.kubeconfig, control, stop: () => supervisor.stopAll() };
}

/** The admission of pods needs the ServiceAccount that a controller makes in each new namespace. */
async function usable(core: CoreV1Api, namespace: string): Promise<void> {
  const account = () => core.readNamespacedServiceAccount({ namespace, name: 'default' });
  await waitUntil(`namespace ${namespace} can be used`, account, { timeoutMs: PATIENCE_MS });
}

const missing = (error: unknown): boolean => error instanceof ApiException && error.code === 404;

/** A pod on a node that is gone would wait for it forever. */
const endPods = (core: CoreV1Api, namespace: string) =>
  core.deleteCollectionNamespacedPod({ namespace, gracePeriodSeconds: 0 });

/** From here on nothing new comes into the namespace. */
async function askToGo(core: CoreV1Api, namespace: string): Promise<void> {
  try {
    await core.deleteNamespace({ name: namespace });
    await endPods(core, namespace);
  } catch (error) {
    if (!missing(error)) throw error;
  }
}

async function gone(core: CoreV1Api, namespace: string): Promise<void> {
  const isMissing = async (): Promise<boolean> => {
    try {
      await endPods(core, namespace); // again, for one that was on its way in
      await core.readNamespace({ name: namespace });
      return false;
    } catch (error) {
      if (missing(error)) return true;
      throw error;
    }
  };
  await waitUntil(`namespace ${namespace} is gone`, isMissing, { timeoutMs: PATIENCE_MS, everyMs: 200 });
}

function withUser(admin: KubeConfig, user: { token?: string; impersonateUser?: string }): KubeConfig {
  const cluster = admin.getCurrentCluster();
  if (!cluster) throw new Error('the kubeconfig names no cluster');
  const config = new KubeConfig();
  config.loadFromClusterAndUser(cluster, { name: 'test', ...user });
  return config;
}

/** The administrator acts as somebody else, who has that one's permissions alone. */
function impersonating(admin: KubeConfig, name: string, group: string | undefined): KubeConfig {
  const token = admin.getCurrentUser()?.token ?? '';
  const config = withUser(admin, { token, impersonateUser: name });
  if (group === undefined) return config;
  config.addAuthenticator({
    isAuthProvider: () => true,
    applyAuthentication: async (_, options) => {
      options.headers = { ...options.headers, 'Impersonate-Group': group };
    },
  });
  return config;
}
