/** Says where the replicas of servings answer at this moment, fresher than the route table does. */
export interface EndpointSource {
  /**
   * Base URLs of a serving's replicas, without a trailing slash and without `/v1`; empty: none can be asked now; null: the source knows
   * nothing of the serving. Asked for every request, so it answers from memory.
   */
  endpointsOf(serving: string): readonly string[] | null;
  /** False while it cannot hear of changes and goes on with the last it knew. */
  readonly healthy: boolean;
  /** Resolves when it knows what there is, or its first try has failed. */
  start(): Promise<void>;
  stop(): Promise<void>;
}
