import type { ChecklistItem } from '../../domain/preflight.ts';
import type { Serving, WantedServing } from '../../domain/serving/serving.ts';

export type ServingState = 'absent' | 'starting' | 'ready' | 'failed' | 'stopping';

/** What a serving looks like now. */
export interface ServingObservation {
  digest: string;
  /** Deterministic name of its objects: servingName of the domain. */
  name: string;
  /** `ready`: every wanted replica answers. `failed`: it will not become ready by waiting. `stopping`: `remove` is not through. */
  state: ServingState;
  /** Replicas that answer now, and how many there are to be. */
  ready: number;
  wanted: number;
  /** Base URLs of the replicas that answer now, without a trailing slash and without `/v1`. */
  endpoints: string[];
  /** In a person's words, e.g. `1 of 2 replicas ready, 1 loading`. */
  message: string;
  /** What to do about a failure. */
  remedy?: string | undefined;
  /** GPUs that its replicas hold or ask for now. */
  gpus: number;
  /** When its oldest object was made, ms since 1970; null where nobody knows. */
  since: number | null;
}

/**
 * Where servings run: processes of this machine, a Kubernetes cluster. Every method may be repeated, interrupted at any moment and
 * called by several workers at once, and leaves the same end state: names are deterministic, and what is there is observed, never
 * remembered (invariant 6).
 */
export interface ServingAdapter {
  /**
   * Set where an apply with fewer replicas ends the last of `endpoints` at once, with a short grace: whoever shrinks lets the gateways go
   * of them first. Elsewhere the system itself takes a replica out of use before it ends.
   */
  readonly endsTheLast?: true;
  /** Makes the serving exist as described and returns without waiting until it is ready; a failed one is started afresh. */
  apply(serving: WantedServing): Promise<void>;
  /** Looks, and lets a replica that ended after having been ready come back; of what apply was never called for it says `absent`. */
  observe(digest: string): Promise<ServingObservation>;
  /** Ends the serving and returns when it is gone, or is going without further help; `observe` says `absent` when it is. */
  remove(digest: string): Promise<void>;
  /**
   * Resolves when the serving may look different from what the last `observe` said, or when `signal` aborts: a watch of the cluster, a
   * short pause where there is nothing to watch. It never rejects for an outage; the next `observe` will tell.
   */
  changed(digest: string, signal: AbortSignal): Promise<void>;
  /**
   * What can be known before the serving is made, without changing anything: permissions, capacity, quota, what it refers to. Only an
   * outage throws.
   */
  check(serving: Serving, replicas: number): Promise<ChecklistItem[]>;
  /** Every serving that exists, also one that nobody remembers. */
  list(): Promise<ServingObservation[]>;
}
