import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
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

const LISTED_MS = 3000;
const LOOK_MS = 50;

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
    const query = [`WorkflowId = '${workflowId}'`, ...attributes.map(([name]) => `${name} IS NOT NULL`)];
    const deadline = performance.now() + LISTED_MS;
    while (performance.now() < deadline) {
      const { count } = await client.workflow.count(query.join(' AND '));
      if (count > 0) return true;
      await delay(LOOK_MS);
    }
    return false;
  } finally {
    // Ends it too. A server that is told to end it first may delete what it shows before it shows the end, and keeps that.
    await connection.workflowService.deleteWorkflowExecution({
      namespace,
      workflowExecution: { workflowId, runId: handle.firstExecutionRunId },
    });
  }
}
