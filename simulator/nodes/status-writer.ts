import { setTimeout as delay } from 'node:timers/promises';
import type { V1Pod, V1PodStatus } from '@kubernetes/client-node';
import { type Api, passing, statusOf, strategicMergePatch } from './api.ts';

const RETRY_MS = 500;

/** Brings a pod's status to the API server: always the latest one, one write at a time, for as long as the server does not answer. */
export class StatusWriter {
  #api: Api;
  #pod: V1Pod;
  #signal: AbortSignal;
  #latest: () => V1PodStatus;
  #written: string | undefined;
  #last: V1PodStatus | undefined;
  #writing: Promise<void> | undefined;
  #onRefused: (error: unknown) => void;

  /** `signal` ends the writing, `onRefused` hears of a status that the server does not take. */
  constructor(
    api: Api,
    pod: V1Pod,
    latest: () => V1PodStatus,
    signal: AbortSignal,
    onRefused: (error: unknown) => void,
  ) {
    this.#api = api;
    this.#pod = pod;
    this.#latest = latest;
    this.#signal = signal;
    this.#onRefused = onRefused;
  }

  /** The status that was written last. */
  get last(): V1PodStatus | undefined {
    return this.#last;
  }

  /** Something changed. Settles when the status as it is now, or a later one, is written, refused or no longer wanted. */
  async write(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
    this.#writing = this.#writeLatest();
    try {
      await this.#writing;
    } finally {
      this.#writing = undefined;
    }
  }

  /** Somebody else changed the status: what was written no longer counts. */
  forget(): void {
    this.#written = undefined;
  }

  async #writeLatest(): Promise<void> {
    const { name = '', namespace = '', uid = '' } = this.#pod.metadata ?? {};
    while (!this.#signal.aborted) {
      const status = this.#latest();
      const text = JSON.stringify(status);
      if (text === this.#written) return;
      try {
        const body = { metadata: { uid }, status: withRemovals(status) };
        await this.#api.core.patchNamespacedPodStatus({ name, namespace, body }, strategicMergePatch);
        this.#written = text;
        this.#last = status;
        return;
      } catch (error) {
        if (!passing(error)) {
          // The pod is gone, or another one has its name.
          if (statusOf(error) !== 404 && statusOf(error) !== 409) this.#onRefused(error);
          return;
        }
        await delay(RETRY_MS, undefined, { signal: this.#signal }).catch(() => undefined);
      }
    }
  }
}

/** In a patch, what is to go has to be named, and addresses would be added to those that were there before. */
function withRemovals(status: V1PodStatus): object {
  const instead = { $patch: 'replace' };
  return {
    ...status,
    hostIPs: [instead, ...(status.hostIPs ?? [])],
    podIPs: [instead, ...(status.podIPs ?? [])],
    conditions: status.conditions?.map((condition) => ({ reason: null, message: null, ...condition })),
  };
}
