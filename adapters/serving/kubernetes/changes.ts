import type { KubeConfig } from '@kubernetes/client-node';
import { shortDigest } from '../../../domain/digest.ts';
import { labels, servingsSelector } from '../../../domain/kubernetes/objects.ts';
import { resources } from '../../kubernetes/resources.ts';
import { type WatchedObject, watchObjects } from '../../kubernetes/watch.ts';
import type { Cluster } from './context.ts';

export interface Changes {
  /** Call it before a serving is looked at: a change from then on counts as new. */
  looking(digest: string): void;
  /** Resolves at a change since then, after a while without one, and when the signal aborts. */
  changed(digest: string, signal: AbortSignal): Promise<void>;
  close(): void;
}

/** A watch can miss something; so every serving is looked at this often, ms. */
const LOOK_ANYWAY_MS = 5_000;
/** The watch ends when nobody has waited for so long, ms; what waits next begins it anew. */
const IDLE_MS = 15_000;

/** One watch of all servings' pods and Deployments, for everybody in this process who waits for one of them. */
export function createChanges({ client, settings, log }: Cluster, config: KubeConfig): Changes {
  /** Servings that changed since they were looked at. */
  const fresh = new Set<string>();
  const waiting = new Map<string, Set<() => void>>();
  let watching: AbortController | null = null;
  let idle: NodeJS.Timeout | undefined;

  const notify = (key: string): void => {
    fresh.add(key);
    for (const wake of waiting.get(key) ?? []) wake();
  };
  const onObject = ({ metadata }: WatchedObject): void => notify(metadata.labels?.[labels.serving] ?? '');

  function start(): void {
    if (watching !== null) return;
    watching = new AbortController();
    const { signal } = watching;
    for (const resource of [resources.pods, resources.deployments]) {
      void watchObjects<WatchedObject>({
        config,
        client,
        resource,
        namespace: settings.namespace,
        labelSelector: servingsSelector,
        // What is not there may have gone unseen: everybody looks.
        onList: () => [...waiting.keys()].forEach(notify),
        onChange: (_, object) => onObject(object),
        log,
        signal,
      });
    }
  }

  function stop(): void {
    watching?.abort();
    watching = null;
  }

  return {
    looking: (digest) => {
      fresh.delete(shortDigest(digest));
    },

    async changed(digest, signal) {
      const key = shortDigest(digest);
      clearTimeout(idle);
      start();
      const over = AbortSignal.any([signal, AbortSignal.timeout(LOOK_ANYWAY_MS)]);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          over.removeEventListener('abort', wake);
          waiting.get(key)?.delete(wake);
          if (waiting.get(key)?.size === 0) waiting.delete(key);
          resolve();
        };
        waiting.set(key, (waiting.get(key) ?? new Set()).add(wake));
        over.addEventListener('abort', wake);
        if (over.aborted || fresh.has(key)) wake();
      });
      if (waiting.size === 0) {
        clearTimeout(idle);
        idle = setTimeout(stop, IDLE_MS).unref();
      }
    },

    close() {
      clearTimeout(idle);
      stop();
      for (const wakes of waiting.values()) for (const wake of wakes) wake();
    },
  };
}
