import { setTimeout as delay } from 'node:timers/promises';
import type { V1Pod } from '@kubernetes/client-node';
import { type Api, mergePatch, passing } from './api.ts';

const TRIES = 12;
const BETWEEN_TRIES_MS = 1000;

export type EventType = 'Normal' | 'Warning';

/** Writes a pod's events as a kubelet does: what repeats itself is counted. They are said in order and never hold anything up. */
export class PodEvents {
  #api: Api;
  #pod: V1Pod;
  #node: string;
  #said = new Map<string, { name: string; count: number }>();
  #queue: Promise<void> = Promise.resolve();
  #number = 0;

  constructor(api: Api, pod: V1Pod, node: string) {
    this.#api = api;
    this.#pod = pod;
    this.#node = node;
  }

  record(type: EventType, reason: string, message: string, fieldPath?: string): void {
    const now = new Date();
    this.#queue = this.#queue.then(() => this.#write(type, reason, message, fieldPath, now));
  }

  /** Settles when everything recorded so far is written or given up. */
  written(): Promise<void> {
    return this.#queue;
  }

  async #write(type: EventType, reason: string, message: string, fieldPath: string | undefined, now: Date) {
    const key = [type, reason, message, fieldPath].join('\0');
    const known = this.#said.get(key);
    const { name: pod = '', namespace = '', uid = '' } = this.#pod.metadata ?? {};
    const name =
      known?.name ?? `${pod}.${(BigInt(now.getTime()) * 1_000_000n + BigInt(this.#number++)).toString(16)}`;
    const count = (known?.count ?? 0) + 1;
    for (let tried = 1; tried <= TRIES; tried++) {
      try {
        if (known) {
          const body = { count, lastTimestamp: now };
          await this.#api.core.patchNamespacedEvent({ name, namespace, body }, mergePatch);
        } else {
          await this.#api.core.createNamespacedEvent({
            namespace,
            body: {
              metadata: { name, namespace },
              involvedObject: {
                apiVersion: 'v1',
                kind: 'Pod',
                name: pod,
                namespace,
                uid,
                ...(fieldPath === undefined ? {} : { fieldPath }),
              },
              type,
              reason,
              message,
              count,
              firstTimestamp: now,
              lastTimestamp: now,
              source: { component: 'kubelet', host: this.#node },
              reportingComponent: 'kubelet',
              reportingInstance: this.#node,
            },
          });
        }
        this.#said.set(key, { name, count });
        return;
      } catch (error) {
        // Refused for good, such as in a namespace that is ending: events are not worth a failure.
        if (!passing(error)) return;
        await delay(BETWEEN_TRIES_MS, undefined, { ref: false });
      }
    }
  }
}
