import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { EndpointSource } from '../adapters/endpoints/endpoints.ts';
import { errorForLog } from '../domain/error-for-log.ts';
import { GATEWAY_STABLE_ONLY_MS, type RouteTable } from '../domain/routing.ts';
import type { Queryable } from '../store/database.ts';
import { type Listener, listen } from '../store/listener.ts';
import { dropLease, ROUTES_CHANNEL, readGeneration, readRouteTable, renewLease } from '../store/routes.ts';
import type { Metrics } from './metrics.ts';
import { publishedEndpoints } from './replicas.ts';
import type { StateFolder } from './state.ts';

/** Since a table's targets name their serving it is another file than it was. */
const TABLE_FILE = 'route-table-2.json';
const EVERY_MS = 1_000;
const LONGEST_BACKOFF_MS = 1_000;

export interface RouteFollowerOptions {
  databaseUrl: string;
  gatewayId: string;
  state: StateFolder;
  metrics: Metrics;
  logger: Logger;
  /** Left out: GATEWAY_STABLE_ONLY_MS. */
  stableOnlyAfter?: number | undefined;
}

/**
 * Follows the route table: hears of a new generation, reads it, routes by it from the next request on, and only then acknowledges it. A
 * request keeps the table that it started with. Without the database it goes on with the last table, and after 30 s with its stable
 * arms only (invariant 2).
 */
export class RouteFollower {
  readonly #options: RouteFollowerOptions;
  readonly #stop = new AbortController();
  #table: RouteTable | null = null;
  #published = publishedEndpoints(null);
  /** Requests in flight by the generation that routed them. */
  readonly #inFlight = new Map<number, number>();
  /** When the table was last read and the lease renewed, by both clocks: neither a sleeping machine nor a set clock stretches it. */
  #confirmed: { wall: number; monotonic: number } | null = null;
  #wake: () => void = () => {};
  #woken = false;
  #running: Promise<void> | null = null;
  #watch: NodeJS.Timeout | undefined;
  #wasStableOnly = false;

  constructor(options: RouteFollowerOptions) {
    this.#options = options;
  }

  /** null before any table was ever seen. */
  get table(): RouteTable | null {
    return this.#table;
  }

  /** Where its servings answer. */
  get published(): Pick<EndpointSource, 'endpointsOf'> {
    return this.#published;
  }

  get stableOnly(): boolean {
    if (this.#confirmed === null) return true;
    const limit = this.#options.stableOnlyAfter ?? GATEWAY_STABLE_ONLY_MS;
    const { wall, monotonic } = this.#confirmed;
    return Math.max(Date.now() - wall, performance.now() - monotonic) > limit;
  }

  /** Starts from the last table that was saved, then follows the database. Resolves when there is a table, or the first try has failed. */
  async start(): Promise<void> {
    this.#use(await this.#options.state.load<RouteTable>(TABLE_FILE));
    const first = Promise.withResolvers<void>();
    this.#running = this.#follow(first.resolve);
    this.#watch = setInterval(() => this.#watchTouch(), EVERY_MS);
    await first.promise;
    this.#watchTouch();
  }

  /** A request begins with this table. @returns to be called when it has ended */
  begin(generation: number): () => void {
    this.#inFlight.set(generation, (this.#inFlight.get(generation) ?? 0) + 1);
    return () => {
      const left = (this.#inFlight.get(generation) ?? 0) - 1;
      if (left > 0) this.#inFlight.set(generation, left);
      else this.#inFlight.delete(generation);
    };
  }

  async #follow(tried: () => void): Promise<void> {
    const { signal } = this.#stop;
    let backoff = 100;
    while (!signal.aborted) {
      let listener: Listener | undefined;
      try {
        const broken = Promise.withResolvers<never>();
        broken.promise.catch(() => {});
        listener = await listen(this.#options.databaseUrl, {
          channel: ROUTES_CHANNEL,
          applicationName: `slipway gateway ${this.#options.gatewayId}`,
          onNotification: () => this.#notify(),
          onBroken: () => broken.reject(new Error('the connection to the database broke')),
        });
        backoff = 100;
        while (!signal.aborted) {
          this.#woken = false;
          await this.#refresh(listener.db);
          tried();
          await Promise.race([this.#nextTurn(signal), broken.promise]);
        }
        await dropLease(listener.db, this.#options.gatewayId);
      } catch (error) {
        this.#options.logger.warn(
          errorForLog(error),
          'the route table cannot be followed now; the last one is in use',
        );
        tried();
        await sleep(backoff, undefined, { signal }).catch(() => {});
        backoff = Math.min(backoff * 2, LONGEST_BACKOFF_MS);
      }
      await listener?.close();
    }
  }

  #use(table: RouteTable | null): void {
    this.#table = table;
    this.#published = publishedEndpoints(table);
  }

  #notify(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Until the next second, a notification, or the end. */
  async #nextTurn(signal: AbortSignal): Promise<void> {
    if (this.#woken || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, EVERY_MS);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }

  async #refresh(db: Queryable): Promise<void> {
    const { gatewayId, metrics, logger } = this.#options;
    const asked = { wall: Date.now(), monotonic: performance.now() };
    const before = this.#table?.generation;
    // A table from this gateway's disk may be of another database: the first read always replaces it.
    if (this.#confirmed === null || (await readGeneration(db)) !== before) {
      this.#use(await readRouteTable(db));
    }
    const generation = this.#table?.generation ?? 0;
    await renewLease(db, gatewayId, generation, Math.min(generation, ...this.#inFlight.keys()));
    const first = this.#confirmed === null;
    this.#confirmed = asked;
    if (generation === before && !first) return;
    metrics.routeGeneration.set(generation);
    logger.info({ generation }, 'routing by a new generation of the route table');
    await this.#options.state.save(TABLE_FILE, this.#table);
  }

  /** Tells of touch that was lost or found again. */
  #watchTouch(): void {
    const stableOnly = this.stableOnly;
    this.#options.metrics.stableOnly.set(stableOnly ? 1 : 0);
    if (stableOnly === this.#wasStableOnly) return;
    this.#wasStableOnly = stableOnly;
    if (stableOnly) this.#options.logger.error('the route table cannot be read: serving the stable arm only');
    else this.#options.logger.info('the route table can be read again: serving both arms');
  }

  /** Gives the lease back; to be called when nothing is served any more. */
  async stop(): Promise<void> {
    clearInterval(this.#watch);
    this.#stop.abort();
    this.#wake();
    await this.#running;
  }
}
