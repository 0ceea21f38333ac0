import { setTimeout as delay } from 'node:timers/promises';
import { type KubeConfig, type V1Pod, Watch } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { Api } from './api.ts';

/** All pods that are bound to a node; whose it is, the listener sees. */
const BOUND = 'spec.nodeName!=';
const RETRY_MS = 300;

export interface PodListener {
  /** The pod is new, or another one than before. */
  changed(pod: V1Pod): void;
  removed(uid: string): void;
}

/**
 * Follows the pods bound to nodes until the signal: a list, then a watch from its version, which is taken up again wherever it breaks,
 * and a new list when the version is too old (410). A server that does not answer is asked again and changes nothing.
 */
export class PodWatch {
  #api: Api;
  #watch: Watch;
  #listener: PodListener;
  #logger: Logger;
  #known = new Set<string>();
  #version = '';

  constructor(kubeConfig: KubeConfig, api: Api, listener: PodListener, logger: Logger) {
    this.#api = api;
    this.#watch = new Watch(kubeConfig);
    this.#listener = listener;
    this.#logger = logger;
  }

  async follow(signal: AbortSignal): Promise<void> {
    let reachable = true;
    while (!signal.aborted) {
      try {
        if (this.#version === '') await this.#list();
        if (!reachable) this.#logger.info('the API server answers again');
        reachable = true;
        await this.#watchOnce(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (reachable) this.#logger.warn({ err: error }, 'the API server does not answer');
        reachable = false;
      }
      await delay(RETRY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  async #list(): Promise<void> {
    const { items, metadata } = await this.#api.core.listPodForAllNamespaces({ fieldSelector: BOUND });
    const listed = new Set<string>();
    for (const pod of items) {
      listed.add(pod.metadata?.uid ?? '');
      this.#changed(pod);
    }
    for (const uid of [...this.#known]) if (!listed.has(uid)) this.#removed(uid);
    this.#version = metadata?.resourceVersion ?? '';
  }

  /** Settles when the server, the network or the signal ends the watch. */
  #watchOnce(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const parameters = { fieldSelector: BOUND, resourceVersion: this.#version, allowWatchBookmarks: true };
      const done = (error: { statusCode?: number; name?: string } | null) => {
        if (error?.statusCode === 410) this.#version = '';
        // A quiet time is no failure, nor is the end of a watch.
        if (!error || error.name === 'TimeoutError' || error.statusCode === 410) resolve();
        else reject(error);
      };
      this.#watch
        .watch('/api/v1/pods', parameters, (type: string, pod: V1Pod) => this.#event(type, pod), done)
        .then((controller) => {
          if (signal.aborted) controller.abort();
          else signal.addEventListener('abort', () => controller.abort(), { once: true });
        }, reject);
    });
  }

  #event(type: string, object: V1Pod): void {
    if (type === 'ERROR') {
      // A version that is too old, mostly; a new list is right for whatever it is.
      this.#version = '';
      return;
    }
    this.#version = object.metadata?.resourceVersion ?? '';
    if (type === 'ADDED' || type === 'MODIFIED') this.#changed(object);
    if (type === 'DELETED') this.#removed(object.metadata?.uid ?? '');
  }

  #changed(pod: V1Pod): void {
    this.#known.add(pod.metadata?.uid ?? '');
    this.#listener.changed(pod);
  }

  #removed(uid: string): void {
    this.#known.delete(uid);
    this.#listener.removed(uid);
  }
}
