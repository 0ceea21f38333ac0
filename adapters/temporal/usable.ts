import { randomUUID } from 'node:crypto';
import {
  Client,
  type Connection,
  isGrpcServiceError,
  ServiceError,
  WorkflowNotFoundError,
} from '@temporalio/client';
import {
  defineSearchAttributeKey,
  SearchAttributeType as Kind,
  TypedSearchAttributes,
} from '@temporalio/common';
import type { SearchAttributeType } from './topology.ts';

/** Nobody polls this task queue: a workflow started on it stays as it was started. */
const TASK_QUEUE = 'slipway-topology-probe';
const PROBE_ID = 'slipway-topology-probe';

/** True for what a server answers while it is still learning of a change, or is restarting. */
export function isServerError(error: unknown): boolean {
  return isGrpcServiceError(error) || error instanceof ServiceError || error instanceof WorkflowNotFoundError;
}

function sample(name: string, type: SearchAttributeType) {
  switch (type) {
    case 'Keyword':
      return { key: defineSearchAttributeKey(name, Kind.KEYWORD), value: 'probe' };
    case 'KeywordList':
      return { key: defineSearchAttributeKey(name, Kind.KEYWORD_LIST), value: ['probe'] };
    case 'Text':
      return { key: defineSearchAttributeKey(name, Kind.TEXT), value: 'probe' };
    case 'Int':
      return { key: defineSearchAttributeKey(name, Kind.INT), value: 1 };
    case 'Double':
      return { key: defineSearchAttributeKey(name, Kind.DOUBLE), value: 1.5 };
    case 'Bool':
      return { key: defineSearchAttributeKey(name, Kind.BOOL), value: true };
    case 'Datetime':
      return { key: defineSearchAttributeKey(name, Kind.DATETIME), value: new Date(0) };
  }
}

/** The condition that finds the probe by one attribute. */
function condition(name: string, type: SearchAttributeType): string {
  switch (type) {
    case 'Int':
      return `${name} = 1`;
    case 'Double':
      return `${name} = 1.5`;
    case 'Bool':
      return `${name} = true`;
    case 'Datetime':
      return `${name} = '1970-01-01T00:00:00Z'`;
    default:
      return `${name} = 'probe'`;
  }
}

const LISTED_MS = 3000;

/**
 * True when a workflow can carry the attributes and be found by them, seen with a workflow that is deleted again: frontend, history and
 * visibility each learn of a new attribute by themselves, and an answer of one says nothing of the others.
 */
export async function canCarry(
  connection: Connection,
  namespace: string,
  attributes: readonly (readonly [string, SearchAttributeType])[],
): Promise<boolean> {
  const client = new Client({ connection, namespace });
  const workflowId = `${PROBE_ID}-${randomUUID()}`;
  const handle = await client.workflow.start(PROBE_ID, {
    workflowId,
    taskQueue: TASK_QUEUE,
    workflowExecutionTimeout: '1m',
    typedSearchAttributes: new TypedSearchAttributes(attributes.map(([name, type]) => sample(name, type))),
  });
  try {
    const query = [
      `WorkflowId = '${workflowId}'`,
      ...attributes.map(([name, type]) => condition(name, type)),
    ];
    const deadline = performance.now() + LISTED_MS;
    while (performance.now() < deadline) {
      const { count } = await client.workflow.count(query.join(' AND '));
      if (count > 0) return true;
    }
    return false;
  } finally {
    await handle.terminate('the probe of the topology is over');
    await connection.workflowService.deleteWorkflowExecution({
      namespace,
      workflowExecution: { workflowId, runId: handle.firstExecutionRunId },
    });
  }
}
