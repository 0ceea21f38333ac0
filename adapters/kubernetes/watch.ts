import { setTimeout as delay } from 'node:timers/promises';
import { type KubeConfig, Watch } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import type { KubernetesClient } from './client.ts';
import { type Place, pathOf, type Resource } from './resources.ts';

/** What every object has that a watch looks at. */
export interface WatchedObject {
  metadata: { name: string; namespace?: string; uid?: string; resourceVersion?: string; labels?: Labels };
}
type Labels = Record<string, string>;

export interface WatchOptions<T extends WatchedObject> {
  config: KubeConfig;
  client: KubernetesClient;
  resource: Resource;
  namespace: string | undefined;
  labelSelector?: string | undefined;
  /** Everything that is there: at first, and after a time in which changes may have been missed. */
  onList: (objects: T[]) => void;
  onChange: (type: 'ADDED' | 'MODIFIED' | 'DELETED', object: T) => void;
  /** null: the server has just answered; else why it did not. */
  onTouch?: ((error: unknown) => void) | undefined;
  log: Logger;
  /** Ends the watch; the promise then resolves. */
  signal: AbortSignal;
}

/**
 * The server ends a watch after so long, seconds; the next goes on where it was. Shorter than the library waits in silence (30 s), so that
 * one which is silent for longer is a server that hangs.
 */
const WATCH_SECONDS = 25;
/** A watch that ends in good order sooner, ms, is no sign of life: some proxy cuts it short. */
const SHORTEST_WATCH_MS = 1_000;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;

/**
 * Follows a list of objects until the signal: lists, watches from there, goes on from the last version that it saw when the connection
 * ends, and lists anew when the server has forgotten that version (410). Errors are ridden out with growing pauses; it never rejects.
 */
export async function watchObjects<T extends WatchedObject>(options: WatchOptions<T>): Promise<void> {
  const { client, resource, namespace, labelSelector, onList, onTouch, log, signal } = options;
  let version: string | null = null;
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      if (version === null) {
        const listed = await client.list<T>(resource, { namespace, labelSelector, signal });
        version = listed.resourceVersion;
        onList(listed.items);
        onTouch?.(null);
      }
      const ended: Ended = await follow(options, version);
      version = ended.version;
      if (!ended.lived) throw ended.error ?? new Error('the watch ended before it said anything');
      pause = FIRST_PAUSE_MS;
      onTouch?.(null);
    } catch (error) {
      if (signal.aborted) return;
      onTouch?.(error);
      log.debug({ err: error, resource: resource.plural }, 'a watch is taken up again');
      // Half of it at random: clients that lost one server together do not come back together.
      await delay(pause * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {});
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }
}

interface Ended {
  /** Where to go on; null: list anew. */
  version: string | null;
  /** It said something before it ended, or had nothing to say until the server ended it. */
  lived: boolean;
  error: unknown;
}

/** One connection of a watch. */
async function follow<T extends WatchedObject>(options: WatchOptions<T>, from: string): Promise<Ended> {
  const { config, resource, namespace, labelSelector, onChange, signal } = options;
  const watch = new Watch(config);
  let version: string | null = from;
  let lived = false;
  let refusal: unknown = null;
  const since = performance.now();
  const place: Place = { namespace };
  const query = {
    resourceVersion: from,
    allowWatchBookmarks: true,
    timeoutSeconds: WATCH_SECONDS,
    labelSelector,
  };
  return new Promise((resolve) => {
    let over = false;
    const done = (error: unknown): void => {
      over = true;
      signal.removeEventListener('abort', abort);
      const gone = statusOf(error) === 410 || statusOf(refusal) === 410;
      const quiet = !error && refusal === null && performance.now() - since >= SHORTEST_WATCH_MS;
      resolve({ version: gone ? null : version, lived: lived || quiet, error: refusal ?? error });
    };
    let connection: AbortController | undefined;
    const abort = (): void => {
      connection?.abort();
      done(null);
    };
    const onEvent = (type: string, object: T): void => {
      if (signal.aborted) return;
      if (type === 'ERROR') {
        refusal = object;
        connection?.abort();
        return;
      }
      lived = true;
      options.onTouch?.(null);
      version = object.metadata.resourceVersion ?? version;
      if (type === 'ADDED' || type === 'MODIFIED' || type === 'DELETED') onChange(type, object);
    };
    signal.addEventListener('abort', abort);
    watch
      .watch(pathOf(resource, place), query, onEvent, done)
      .then((controller) => {
        connection = controller;
        if (signal.aborted || refusal !== null) controller.abort();
        // The server has taken the watch, however long it has nothing to say.
        else if (!over) options.onTouch?.(null);
      })
      .catch(done);
  });
}

/** Of the library's error for an answer that is no success, or of the `Status` that a watch ends with. */
function statusOf(error: unknown): number | null {
  if (typeof error !== 'object' || error === null) return null;
  const { code, statusCode } = error as { code?: unknown; statusCode?: unknown };
  const status = statusCode ?? code;
  return typeof status === 'number' ? status : null;
}
