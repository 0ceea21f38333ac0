import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type Api, mergePatch, passing, statusOf, strategicMergePatch } from './api.ts';
import { type NodeSpec, nodeObject, nodeStatus } from './node-object.ts';

/** As a kubelet's: the node counts as lost when its lease is not renewed for 40 s. */
const RENEW_MS = 10_000;
const LEASE_SECONDS = 40;
const RETRY_MS = 1000;
const LEASES = 'kube-node-lease';

/** Keeps a Node object and its Lease alive. */
export class Node {
  #spec: NodeSpec;
  #address: string;
  #api: Api;
  #logger: Logger;
  #since = new Date();

  constructor(spec: NodeSpec, address: string, api: Api, logger: Logger) {
    this.#spec = spec;
    this.#address = address;
    this.#api = api;
    this.#logger = logger;
  }

  /** Makes the Node, or takes over the one that is there, and reports it as ready. Waits for the API server. */
  async register(signal: AbortSignal): Promise<void> {
    for (;;) {
      try {
        await this.#create();
        await this.#report();
        return;
      } catch (error) {
        if (!passing(error)) throw error;
        this.#logger.info({ node: this.#spec.name }, 'waiting for the API server');
        await delay(RETRY_MS, undefined, { signal });
      }
    }
  }

  /** Renews until the signal. */
  async keepAlive(signal: AbortSignal): Promise<void> {
    let failing = false;
    while (!signal.aborted) {
      await delay(failing ? RETRY_MS : RENEW_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await this.#report();
        failing = false;
      } catch (error) {
        if (!failing) this.#logger.warn({ err: error, node: this.#spec.name }, 'the node cannot be renewed');
        failing = true;
      }
    }
  }

  async remove(): Promise<void> {
    const { name } = this.#spec;
    await this.#api.core.deleteNode({ name }).catch(ignoreMissing);
    await this.#api.coordination.deleteNamespacedLease({ name, namespace: LEASES }).catch(ignoreMissing);
  }

  async #create(): Promise<void> {
    const body = nodeObject(this.#spec);
    try {
      await this.#api.core.createNode({ body });
    } catch (error) {
      if (statusOf(error) !== 409) throw error;
      await this.#api.core.patchNode({ name: this.#spec.name, body }, mergePatch);
    }
  }

  async #report(): Promise<void> {
    const { name } = this.#spec;
    const now = new Date();
    const status = nodeStatus(this.#spec, this.#address, this.#since, now);
    // A node that is there already may have had GPUs.
    const removed = { 'nvidia.com/gpu': null };
    const capacity = { ...removed, ...status.capacity };
    const allocatable = { ...removed, ...status.allocatable };
    const body = { status: { ...status, capacity, allocatable } };
    await this.#api.core.patchNodeStatus({ name, body }, strategicMergePatch);
    const renewal = {
      spec: { renewTime: microTime(now), holderIdentity: name, leaseDurationSeconds: LEASE_SECONDS },
    };
    try {
      await this.#api.coordination.patchNamespacedLease(
        { name, namespace: LEASES, body: renewal },
        mergePatch,
      );
    } catch (error) {
      if (statusOf(error) !== 404) throw error;
      const { metadata } = await this.#api.core.readNode({ name });
      const owner = { apiVersion: 'v1', kind: 'Node', name, uid: metadata?.uid ?? '' };
      await this.#api.coordination.createNamespacedLease({
        namespace: LEASES,
        body: { metadata: { name, ownerReferences: [owner] } },
      });
      await this.#api.coordination.patchNamespacedLease(
        { name, namespace: LEASES, body: renewal },
        mergePatch,
      );
    }
  }
}

function ignoreMissing(error: unknown): void {
  if (statusOf(error) !== 404) throw error;
}

/** Kubernetes reads this kind of time only with six decimals. */
function microTime(time: Date): string {
  return time.toISOString().replace('Z', '000Z');
}
