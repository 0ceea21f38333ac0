import type { Client } from '@temporalio/client';

/** The workflow of a release that the API starts; started in the Temporal UI, a workflow's id is the release's. */
export const workflowIdOf = (release: string): string => `release:${release}`;

/** How long Temporal itself may take to answer. */
const TEMPORAL_MS = 5_000;

/** Asks Temporal, which answers at once or is not there: a caller is not kept waiting while the SDK tries again. */
export function promptly<T>(temporal: Client, request: () => Promise<T>): Promise<T> {
  return temporal.withDeadline(Date.now() + TEMPORAL_MS, request);
}
