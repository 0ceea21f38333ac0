import { type Client, WorkflowNotFoundError } from '@temporalio/client';
import type { UnfinishedEnd, WorkflowState } from '../../domain/release/sweeping.ts';

/** What Temporal knows of workflows, by their ids. */
export interface Executions {
  /** State of the workflow's latest run; only an outage throws. */
  stateOf(workflowId: string): Promise<WorkflowState>;
}

const unfinished: Record<string, Exclude<UnfinishedEnd, 'unknown'>> = {
  TERMINATED: 'terminated',
  TIMED_OUT: 'timed out',
  FAILED: 'failed',
  CANCELLED: 'cancelled',
  COMPLETED: 'completed',
};

/** @param client asked for at each look: an activity's own client exists only while it runs */
export function createExecutions(client: () => Pick<Client, 'workflow'>): Executions {
  return {
    async stateOf(workflowId) {
      try {
        const { status, closeTime } = await client().workflow.getHandle(workflowId).describe();
        const how = unfinished[status.name];
        // A state that this version has no word for is none to act on.
        if (how === undefined || closeTime === undefined) return { kind: 'running' };
        return { kind: 'unfinished', how, at: closeTime.getTime() };
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return { kind: 'unknown' };
        throw error;
      }
    },
  };
}
