import type { KubeConfig } from '@kubernetes/client-node';
import { isOtherObject, KubernetesError, toldError } from './errors.ts';
import { createHttp, type KubernetesRequest } from './http.ts';
import { type Place, pathOf, type Resource } from './resources.ts';

export interface ListOptions {
  namespace?: string | undefined;
  labelSelector?: string | undefined;
  fieldSelector?: string | undefined;
  signal?: AbortSignal | undefined;
}

export interface Listed<T> {
  items: T[];
  /** Where a watch goes on. */
  resourceVersion: string;
}

export interface ApplyOptions {
  fieldManager: string;
  /** Validated and admitted, but not kept. */
  dryRun?: boolean;
}

export interface RemoveOptions {
  /** `foreground`: the object is there until all that belongs to it is gone. */
  propagation?: 'foreground' | 'background';
  /** Only this very object, not another that has taken its name since. */
  uid?: string | undefined;
  gracePeriodSeconds?: number;
}

/**
 * Kubernetes' API in the few ways in which Slipway uses it. What is given back is JSON as the server sent it; the caller names its type.
 * Every method rides out a short outage, and throws a SlipwayError: DEPENDENCY_UNAVAILABLE after a longer one, FORBIDDEN with verb and
 * resource, SERVING_FAILED for what the server refuses.
 */
export interface KubernetesClient {
  /** null: there is none. */
  get<T>(resource: Resource, place: Place, options?: { metadataOnly?: boolean }): Promise<T | null>;
  /** An API that the cluster does not have has no objects. */
  list<T>(resource: Resource, options?: ListOptions): Promise<Listed<T>>;
  create<T>(resource: Resource, namespace: string | undefined, object: object): Promise<T>;
  /**
   * Server-side apply, with force: the given fields become the field manager's. An object that names a uid is never made; null then says
   * that it is not there any more.
   */
  apply<T>(resource: Resource, place: Place, object: object, options: ApplyOptions): Promise<T | null>;
  /** False: there was none, or it is not the one that was meant. */
  remove(resource: Resource, place: Place, options?: RemoveOptions): Promise<boolean>;
  /** The end of a container's log; null when there is none, or it may not be read. */
  log(pod: Place, container: string, options: { lines: number; previous: boolean }): Promise<string | null>;
  /** Resolves when the server says that it is ready: before, it forbids what it will allow. */
  settled(): Promise<void>;
  /** Does the server have the API? */
  knows(resource: Resource): Promise<boolean>;
}

const PAGE = 500;
/** Bytes of a log at most: its lines may be long. */
const LOG_BYTES = 20_000;

export function createKubernetesClient(config: KubeConfig): KubernetesClient {
  const { send, settled } = createHttp(config);

  async function ask<T>(what: string, request: KubernetesRequest): Promise<T> {
    try {
      return JSON.parse(await send(request)) as T;
    } catch (error) {
      throw told(error, what, request.signal);
    }
  }

  return {
    async get<T>(resource: Resource, place: Place, { metadataOnly = false } = {}): Promise<T | null> {
      const accept = metadataOnly
        ? 'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io'
        : 'application/json';
      try {
        return JSON.parse(await send({ path: pathOf(resource, place), accept })) as T;
      } catch (error) {
        if (isMissing(error)) return null;
        throw told(error, `get ${nameOf(resource, place)}`);
      }
    },

    async list<T>(resource: Resource, options: ListOptions = {}): Promise<Listed<T>> {
      const { namespace, labelSelector, fieldSelector, signal } = options;
      let items: T[] = [];
      let next: string | undefined;
      for (;;) {
        try {
          const query = { labelSelector, fieldSelector, limit: String(PAGE), continue: next };
          const text = await send({ path: pathOf(resource, { namespace }), query, signal });
          const page = JSON.parse(text) as {
            items: T[];
            metadata: { resourceVersion: string; continue?: string };
          };
          items.push(...page.items);
          next = page.metadata.continue;
          if (!next) return { items, resourceVersion: page.metadata.resourceVersion };
        } catch (error) {
          if (isMissing(error)) return { items: [], resourceVersion: '' };
          // The pages took so long that the server has forgotten where they began.
          if (next === undefined || !isExpired(error)) throw told(error, `list ${resource.plural}`, signal);
          items = [];
          next = undefined;
        }
      }
    },

    create: (resource, namespace, object) =>
      ask(`create ${resource.plural}`, {
        method: 'POST',
        path: pathOf(resource, { namespace }),
        body: object,
      }),

    async apply<T>(
      resource: Resource,
      place: Place,
      object: object,
      { fieldManager, dryRun = false }: ApplyOptions,
    ): Promise<T | null> {
      try {
        const answer = await send({
          method: 'PATCH',
          path: pathOf(resource, place),
          query: { fieldManager, force: 'true', fieldValidation: 'Strict', ...(dryRun && { dryRun: 'All' }) },
          // JSON is YAML; this content type is what makes a patch a server-side apply.
          contentType: 'application/apply-patch+yaml',
          body: object,
        });
        return JSON.parse(answer) as T;
      } catch (error) {
        if (isOtherObject(error)) return null;
        throw told(error, `apply ${nameOf(resource, place)}`);
      }
    },

    async remove(resource, place, { propagation = 'background', uid, gracePeriodSeconds } = {}) {
      const body = {
        apiVersion: 'v1',
        kind: 'DeleteOptions',
        propagationPolicy: propagation === 'foreground' ? 'Foreground' : 'Background',
        ...(uid !== undefined && { preconditions: { uid } }),
        ...(gracePeriodSeconds !== undefined && { gracePeriodSeconds }),
      };
      try {
        await send({ method: 'DELETE', path: pathOf(resource, place), body });
        return true;
      } catch (error) {
        if (isMissing(error) || isOtherObject(error)) return false;
        throw told(error, `delete ${nameOf(resource, place)}`);
      }
    },

    async log(pod, container, { lines, previous }) {
      const path = `${pathOf({ apiVersion: 'v1', kind: 'Pod', plural: 'pods' }, pod)}/log`;
      const query = {
        container,
        tailLines: String(lines),
        limitBytes: String(LOG_BYTES),
        ...(previous && { previous: 'true' }),
      };
      try {
        return await send({ path, query, accept: '*/*' });
      } catch {
        return null;
      }
    },

    settled: () => settled(),

    async knows(resource) {
      const [root] = pathOf(resource, {}).split(`/${resource.plural}`);
      try {
        const { resources } = JSON.parse(await send({ path: root ?? '' })) as {
          resources: { name: string }[];
        };
        return resources.some(({ name }) => name === resource.plural);
      } catch (error) {
        if (isMissing(error)) return false;
        throw told(error, `look whether the API server knows ${resource.plural}`);
      }
    },
  };
}

const isMissing = (error: unknown): boolean => error instanceof KubernetesError && error.status === 404;
const isExpired = (error: unknown): boolean => error instanceof KubernetesError && error.status === 410;

const nameOf = ({ plural }: Resource, { name }: Place): string => (name ? `${plural}/${name}` : plural);

/** The caller's own abort is told as what it is. */
function told(error: unknown, what: string, signal?: AbortSignal): unknown {
  return signal?.aborted ? signal.reason : toldError(error, what);
}
