import type { KubeConfig } from '@kubernetes/client-node';
import type { Logger } from 'pino';
import { shortDigest } from '../../domain/digest.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { labels } from '../../domain/kubernetes/objects.ts';
import { createKubernetesClient } from '../kubernetes/client.ts';
import { resources } from '../kubernetes/resources.ts';
import { watchObjects } from '../kubernetes/watch.ts';
import type { EndpointSource } from './endpoints.ts';
import { type EndpointSlice, endpointsOfSlices, servingOf } from './slices.ts';

/** EndpointSlices of servings' Services, and no others of the namespace. */
const SELECTOR = labels.serving;
/** A cluster that does not say within this time what there is keeps no gateway from its start: the route table's lists will do. */
const FIRST_LOOK_MS = 5_000;

export interface KubernetesEndpointsOptions {
  kubeConfig: KubeConfig;
  /** Where servings live. */
  namespace: string;
  logger: Logger;
}

/**
 * Follows the EndpointSlices of the servings. Needs the verbs list and watch on endpointslices.discovery.k8s.io in the namespace. While the
 * API server is away it goes on with the last it knew.
 */
export class KubernetesEndpoints implements EndpointSource {
  readonly #options: KubernetesEndpointsOptions;
  readonly #stop = new AbortController();
  /** By name. */
  #slices = new Map<string, EndpointSlice>();
  /** By the serving's short digest. */
  #endpoints = new Map<string, string[]>();
  #touch: 'none yet' | 'followed' | 'denied' | 'away' = 'none yet';
  #running: Promise<void> | undefined;

  constructor(options: KubernetesEndpointsOptions) {
    this.#options = options;
  }

  endpointsOf(serving: string): readonly string[] | null {
    return this.#endpoints.get(shortDigest(serving)) ?? null;
  }

  get healthy(): boolean {
    return this.#touch === 'followed';
  }

  async start(): Promise<void> {
    const { kubeConfig: config, namespace, logger: log } = this.#options;
    const looked = Promise.withResolvers<void>();
    const late = setTimeout(looked.resolve, FIRST_LOOK_MS);
    this.#running = watchObjects<EndpointSlice>({
      config,
      client: createKubernetesClient(config),
      resource: resources.endpointSlices,
      namespace,
      labelSelector: SELECTOR,
      onList: (slices) => {
        this.#slices = new Map(slices.map((slice) => [slice.metadata.name, slice]));
        this.#merge();
      },
      onChange: (type, slice) => {
        if (type === 'DELETED') this.#slices.delete(slice.metadata.name);
        else this.#slices.set(slice.metadata.name, slice);
        this.#merge();
      },
      onTouch: (error) => {
        this.#tell(error);
        looked.resolve();
      },
      log,
      signal: this.#stop.signal,
    });
    await looked.promise;
    clearTimeout(late);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#touch = 'none yet';
  }

  #merge(): void {
    const byServing = Map.groupBy(this.#slices.values(), (slice) => servingOf(slice) ?? '');
    this.#endpoints = new Map(
      [...byServing].map(([serving, slices]) => [serving, endpointsOfSlices(slices)]),
    );
  }

  /** Tells of each change once. */
  #tell(error: unknown): void {
    const { logger, namespace } = this.#options;
    const denied = error instanceof SlipwayError && error.code === 'FORBIDDEN';
    const touch = error === null ? 'followed' : denied ? 'denied' : 'away';
    if (touch === this.#touch) return;
    this.#touch = touch;
    if (error === null) {
      logger.info({ namespace }, "following the cluster's EndpointSlices");
      return;
    }
    const context = { namespace, err: error };
    if (denied) logger.error(context, 'the EndpointSlices may not be read; the last ones known are in use');
    else logger.warn(context, 'the EndpointSlices cannot be followed now; the last ones known are in use');
  }
}
