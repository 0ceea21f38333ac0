import type { V1Pod } from '@kubernetes/client-node';
import type { Lookups } from './environment.ts';
import type { EventType } from './events.ts';
import type { NodeContext } from './node-context.ts';

/** What a container needs of the pod that it is in. */
export interface ContainerContext {
  node: NodeContext;
  pod: V1Pod;
  podIP: string;
  lookups: Lookups;
  /** Holds the container's logs, and is its home. */
  folder: string;
  restarts(exitCode: number): boolean;
  record(type: EventType, reason: string, message: string): void;
  /** The status is another one. */
  changed(): void;
}

/** The waiting of a container, which its end breaks off by an exception. */
export interface Waiting {
  /** Says what the container waits for. */
  say(reason: string, message: string): void;
  /** Lets so many milliseconds pass. */
  pause(ms: number): Promise<void>;
}
