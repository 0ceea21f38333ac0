import type { Logger } from 'pino';
import type { Addresses } from './addresses.ts';
import type { Api } from './api.ts';
import type { BackoffTiming } from './backoff.ts';
import type { ProcessGroups } from './groups.ts';

/** What the pods of one node share. */
export interface NodeContext {
  name: string;
  /** Where the node's kubelet endpoint listens. */
  address: string;
  gpuProduct: string | undefined;
  api: Api;
  addresses: Addresses;
  groups: ProcessGroups;
  /** Images that the node has pulled already. */
  pulled: Set<string>;
  /** Images that exist. */
  images: readonly RegExp[];
  /** How long a pull takes, in milliseconds. */
  pullMs: number;
  backoff: BackoffTiming;
  /** The program that stands for `vllm`, with its first arguments. */
  program: readonly string[];
  /** Added to every container's environment, under the pod's own variables. */
  environment: Readonly<Record<string, string>>;
  /** Holds a folder for each pod. */
  podsFolder: string;
  logger: Logger;
}
