import { once } from 'node:events';
import { mkdirSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join, resolve } from 'node:path';
import type { KubeConfig, V1Pod } from '@kubernetes/client-node';
import { type Logger, pino } from 'pino';
import { Addresses, removeLabelled } from './addresses.ts';
import { apiOf } from './api.ts';
import { type BackoffTiming, kubeletBackoff } from './backoff.ts';
import { NodesError } from './errors.ts';
import { Footprint } from './footprint.ts';
import { ProcessGroups } from './groups.ts';
import { killMarked } from './kill.ts';
import { KubeletServer } from './kubelet-server.ts';
import { Node } from './node.ts';
import type { NodeContext } from './node-context.ts';
import type { NodeSpec } from './node-object.ts';
import { Pod } from './pod.ts';
import { PodWatch } from './pod-watch.ts';
import { refuseOthers, removeRoutes } from './routes.ts';

export interface NodesOptions {
  kubeConfig: KubeConfig;
  nodes: readonly NodeSpec[];
  /** Holds the containers' logs; one agent at a time. What a killed agent with the same folder left behind is removed. */
  stateFolder: string;
  /** What stands for `vllm`, with its first arguments: the simulator by default. */
  program?: readonly string[] | undefined;
  /** Added to every container's environment, under the pod's own variables; SIMULATOR_* for the simulator. */
  environment?: Readonly<Record<string, string>> | undefined;
  /** Images that exist, by whole reference; vLLM's own by default. */
  images?: readonly RegExp[] | undefined;
  /** How long a pull takes, in milliseconds; 200 by default. */
  pullMs?: number | undefined;
  /** A kubelet's by default: 10 s to 300 s. */
  backoff?: Partial<BackoffTiming> | undefined;
  /** Where pods and nodes have their addresses; 10.244.0.0/16 by default. */
  addressRange?: string | undefined;
  /** Whether the Node objects go with the agent; true by default. Otherwise they become NotReady, as lost nodes do. */
  removeNodes?: boolean | undefined;
  logger?: Logger | undefined;
  /** Breaks a start off that waits for the API server. */
  signal?: AbortSignal | undefined;
}

export interface RunningNodes {
  /** Ends every container and removes addresses and, by option, nodes. Pods' objects stay. */
  stop(): Promise<void>;
}

export const VLLM_IMAGES = /^(docker\.io\/)?vllm\/vllm-openai([:@]|$)/;
const SIMULATOR = [process.execPath, join(import.meta.dirname, '../main.ts')];
const STOP_GRACE_MS = 2000;

/**
 * Simulated GPU nodes in a cluster: the part of a kubelet, with a process for each vLLM container. Settles when every node is ready.
 * Throws NodesError when this machine cannot hold them.
 */
export async function startNodes(options: NodesOptions): Promise<RunningNodes> {
  const { kubeConfig, removeNodes = true } = options;
  const logger = options.logger ?? pino({ level: 'silent' });
  const stateFolder = resolve(options.stateFolder);
  const range = options.addressRange ?? '10.244.0.0/16';
  const footprint = new Footprint(stateFolder);
  const addresses = new Addresses(range, footprint.label, footprint.metric);
  const lock = await lockState(footprint.lock, stateFolder);
  const podsFolder = join(stateFolder, 'pods');
  let groups: ProcessGroups | undefined;
  const servers: KubeletServer[] = [];
  const stopping = new AbortController();
  const pods = new Map<string, Pod>();
  const nodes: Node[] = [];
  const background: Promise<void>[] = [];

  const stop = async (): Promise<void> => {
    stopping.abort();
    await Promise.all(background);
    await Promise.all([...pods.values()].map((pod) => pod.abandon(STOP_GRACE_MS)));
    await Promise.all(servers.map((server) => server.close()));
    await groups?.close();
    await removeLabelled(footprint.label);
    await removeRoutes((metric) => metric === footprint.metric);
    if (removeNodes) {
      const failed = (error: unknown) => logger.warn({ err: error }, 'a node could not be removed');
      await Promise.all(nodes.map((node) => node.remove().catch(failed)));
    }
    lock.close();
  };

  try {
    killMarked(footprint.marks);
    await removeLabelled(footprint.labels);
    await removeRoutes((metric) => footprint.hasMetric(metric));
    rmSync(podsFolder, { recursive: true, force: true });
    mkdirSync(podsFolder, { recursive: true });
    groups = new ProcessGroups(footprint);
    await refuseOthers(range, footprint.metric);
    const api = apiOf(kubeConfig);
    const contexts = new Map<string, NodeContext>();
    const podNamed = (namespace: string, name: string) =>
      [...pods.values()].find((pod) => pod.namespace === namespace && pod.name === name);
    for (const spec of options.nodes) {
      const address = await addresses.take();
      servers.push(await KubeletServer.listen(spec.name, address, podNamed));
      contexts.set(spec.name, {
        name: spec.name,
        address,
        gpuProduct: spec.gpuProduct,
        api,
        addresses,
        groups,
        pulled: new Set(),
        images: options.images ?? [VLLM_IMAGES],
        pullMs: options.pullMs ?? 200,
        backoff: { ...kubeletBackoff, ...options.backoff },
        program: options.program ?? SIMULATOR,
        environment: options.environment ?? {},
        podsFolder,
        logger: logger.child({ node: spec.name }),
      });
      const node = new Node(spec, address, api, logger);
      await node.register(options.signal ?? stopping.signal);
      nodes.push(node);
      background.push(node.keepAlive(stopping.signal));
    }
    const changed = (object: V1Pod): void => {
      const context = contexts.get(object.spec?.nodeName ?? '');
      const uid = object.metadata?.uid ?? '';
      if (context === undefined || stopping.signal.aborted) return;
      const known = pods.get(uid);
      if (known !== undefined) {
        known.update(object);
        return;
      }
      const pod = new Pod(object, context);
      pods.set(uid, pod);
      void pod.gone.then(() => pods.delete(uid));
    };
    const removed = (uid: string): void => void pods.get(uid)?.removed();
    background.push(new PodWatch(kubeConfig, api, { changed, removed }, logger).follow(stopping.signal));
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
}

/** The kernel frees the name when the agent ends, whichever way. */
async function lockState(name: string, stateFolder: string): Promise<Server> {
  const lock = createServer();
  try {
    lock.listen(`\0${name}`);
    await once(lock, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new NodesError(
      `Another node agent runs with the state folder ${stateFolder}.`,
      'Stop it, or give this one a folder of its own.',
    );
  }
  lock.unref();
  return lock;
}
