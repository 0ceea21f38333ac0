import { setTimeout as delay } from 'node:timers/promises';
import { type Connection, isGrpcServiceError } from '@temporalio/client';
import { msToTs, optionalTsToMs } from '@temporalio/common/lib/time.js';
import proto, { type temporal } from '@temporalio/proto';
import { formatDuration } from '../../domain/duration.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { applySchedules } from './schedules.ts';
import type { SearchAttributeType, Topology } from './topology.ts';
import { canCarry, isServerError } from './usable.ts';

/** Codes of gRPC that applying must tell apart. */
const grpc = { NOT_FOUND: 5, ALREADY_EXISTS: 6, PERMISSION_DENIED: 7, UNIMPLEMENTED: 12 } as const;

const { IndexedValueType } = proto.temporal.api.enums.v1;
const indexedTypes: Record<SearchAttributeType, temporal.api.enums.v1.IndexedValueType> = {
  Keyword: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
  KeywordList: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
  Text: IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
  Int: IndexedValueType.INDEXED_VALUE_TYPE_INT,
  Double: IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
  Bool: IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
  Datetime: IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
};

function typeName(type: temporal.api.enums.v1.IndexedValueType): string {
  const found = Object.entries(indexedTypes).find(([, value]) => value === type);
  return found?.[0] ?? `type ${type}`;
}

/** Something that temporal.yaml says and that applying cannot bring about. */
export interface NotSet {
  /** Path in temporal.yaml. */
  field: string;
  why: string;
  remedy: string;
}

export interface ApplyReport {
  /** What applying changed on the server, as sentences; empty when it matched already. */
  changed: string[];
  notSet: NotSet[];
}

export interface ApplyOptions {
  /** True for the server that runs with the topology's own dynamic config. */
  localServer?: boolean;
  /** Milliseconds until what was changed must be usable; 60 s by default. */
  timeoutMs?: number;
}

interface ServerState {
  retention: number;
  description: string;
  attributes: Map<string, temporal.api.enums.v1.IndexedValueType>;
  /** Why the server's search attributes cannot be read and changed here; undefined when they can. */
  attributesClosed: string | undefined;
}

const hasCode = (error: unknown, ...codes: number[]): error is Error & { code: number } =>
  isGrpcServiceError(error) && codes.includes(error.code);

async function readNamespace(connection: Connection, namespace: string) {
  try {
    return await connection.workflowService.describeNamespace({ namespace });
  } catch (error) {
    if (hasCode(error, grpc.NOT_FOUND)) return undefined;
    throw error;
  }
}

async function readAttributes(
  connection: Connection,
  namespace: string,
): Promise<Pick<ServerState, 'attributes' | 'attributesClosed'>> {
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    return { attributes: new Map(Object.entries(customAttributes ?? {})), attributesClosed: undefined };
  } catch (error) {
    if (!hasCode(error, grpc.PERMISSION_DENIED, grpc.UNIMPLEMENTED)) throw error;
    return { attributes: new Map(), attributesClosed: error.message };
  }
}

async function readServer(connection: Connection, namespace: string): Promise<ServerState | undefined> {
  const described = await readNamespace(connection, namespace);
  if (!described) return undefined;
  return {
    retention: optionalTsToMs(described.config?.workflowExecutionRetentionTtl) ?? 0,
    description: described.namespaceInfo?.description ?? '',
    ...(await readAttributes(connection, namespace)),
  };
}

async function ensureNamespace(
  connection: Connection,
  { namespace }: Topology,
  report: ApplyReport,
): Promise<void> {
  const { name, description, retention } = namespace;
  const found = await readServer(connection, name);
  if (!found) {
    try {
      await connection.workflowService.registerNamespace({
        namespace: name,
        description,
        workflowExecutionRetentionPeriod: msToTs(retention),
      });
      report.changed.push(`created namespace ${name} with retention ${formatDuration(retention)}`);
    } catch (error) {
      if (!hasCode(error, grpc.ALREADY_EXISTS)) throw error; // else another process was quicker
    }
    return;
  }
  if (found.retention === retention && found.description === description) return;
  await connection.workflowService.updateNamespace({
    namespace: name,
    updateInfo: { description },
    config: { workflowExecutionRetentionTtl: msToTs(retention) },
  });
  if (found.retention !== retention) {
    const [before, after] = [formatDuration(found.retention), formatDuration(retention)];
    report.changed.push(`changed retention of namespace ${name} from ${before} to ${after}`);
  }
  if (found.description !== description) report.changed.push(`changed description of namespace ${name}`);
}

async function addAttributes(connection: Connection, topology: Topology, report: ApplyReport): Promise<void> {
  const namespace = topology.namespace.name;
  const { attributes, attributesClosed } = await readAttributes(connection, namespace);
  if (attributesClosed !== undefined) return;
  const missing = Object.entries(topology.searchAttributes).filter(([name]) => !attributes.has(name));
  if (missing.length === 0) return;
  try {
    await connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map(([name, type]) => [name, indexedTypes[type]])),
    });
    for (const [name, type] of missing) report.changed.push(`added search attribute ${name} (${type})`);
  } catch (error) {
    if (!hasCode(error, grpc.ALREADY_EXISTS, grpc.PERMISSION_DENIED, grpc.UNIMPLEMENTED)) throw error;
  }
}

/** Compares what the topology asks with what the server has now. */
function differences(topology: Topology, server: ServerState, localServer: boolean): NotSet[] {
  const { namespace, searchAttributes, localServer: local } = topology;
  const found: NotSet[] = [];
  const note = (field: string, why: string, remedy: string) => found.push({ field, why, remedy });
  if (server.retention !== namespace.retention) {
    const kept = formatDuration(server.retention);
    note('namespace.retention', `the server keeps ${kept}`, 'Change it where the cluster is administered.');
  }
  if (server.attributesClosed !== undefined) {
    const names = Object.keys(searchAttributes).join(', ');
    note(
      'searchAttributes',
      `the server does not let this client manage them (${server.attributesClosed})`,
      `Add ${names} where the cluster is administered, e.g. with tcld on Temporal Cloud.`,
    );
  } else {
    for (const [name, type] of Object.entries(searchAttributes)) {
      const has = server.attributes.get(name);
      if (has === indexedTypes[type]) continue;
      const field = `searchAttributes.${name}`;
      if (has === undefined)
        note(field, 'the server does not have it', 'Look at the server log and apply again.');
      else
        note(
          field,
          `the server has it as ${typeName(has)}, not ${type}`,
          'A type cannot change: use another name.',
        );
    }
    for (const name of server.attributes.keys()) {
      if (name in searchAttributes) continue;
      const field = `searchAttributes.${name}`;
      note(
        field,
        'the server has it, temporal.yaml does not',
        'Applying removes none: workflows may carry it.',
      );
    }
  }
  if (!localServer) {
    for (const key of Object.keys(local.dynamicConfig)) {
      const field = `localServer.dynamicConfig.${key}`;
      note(
        field,
        'dynamic config cannot be set over the API',
        'Set it in the dynamic config of the server if you need it.',
      );
    }
  }
  return found;
}

/**
 * Makes the server match the topology and reports what it changed and what it cannot set. Returns when namespace and search attributes
 * are usable in every service of the server, and the schedules are made. Applying twice changes nothing the second time.
 * @throws SlipwayError DEPENDENCY_UNAVAILABLE when what was changed is not usable in time
 */
export async function applyTopology(
  topology: Topology,
  connection: Connection,
  { localServer = false, timeoutMs = 60_000 }: ApplyOptions = {},
): Promise<ApplyReport> {
  const report: ApplyReport = { changed: [], notSet: [] };
  const namespace = topology.namespace.name;
  const soon = retrying(namespace, performance.now() + timeoutMs);
  await soon(() => ensureNamespace(connection, topology, report));
  await soon(() => addAttributes(connection, topology, report));
  const server = await soon(async () => (await readServer(connection, namespace)) ?? NOT_YET);
  report.notSet = differences(topology, server, localServer);
  if (report.changed.length > 0) {
    const open = new Set(report.notSet.map(({ field }) => field));
    const usable = Object.entries(topology.searchAttributes).filter(
      ([name]) => server.attributesClosed === undefined && !open.has(`searchAttributes.${name}`),
    );
    await soon(async () => (await canCarry(connection, namespace, usable)) || NOT_YET);
  }
  const schedules = await soon(() => applySchedules(topology, connection));
  report.changed.push(...schedules.changed);
  report.notSet.push(...schedules.notSet.map(([field, why, remedy]) => ({ field, why, remedy })));
  return report;
}

const NOT_YET = Symbol('not yet');
const RETRY_MS = 100;

/** A server's services learn of a change one after the other: what fails meanwhile is tried again until the deadline. */
function retrying(namespace: string, deadline: number) {
  return async <T>(attempt: () => Promise<T | typeof NOT_YET>): Promise<T> => {
    for (;;) {
      let cause: unknown;
      try {
        const result = await attempt();
        if (result !== NOT_YET) return result;
      } catch (error) {
        if (!isServerError(error)) throw error;
        cause = error;
      }
      if (performance.now() >= deadline) throw notUsable(namespace, cause);
      await delay(RETRY_MS);
    }
  };
}

function notUsable(namespace: string, cause: unknown): SlipwayError {
  const why = cause instanceof Error ? `: ${cause.message}` : '';
  return new SlipwayError(
    'DEPENDENCY_UNAVAILABLE',
    `Namespace ${namespace} did not become usable in time${why}`,
    { field: 'namespace.name', value: namespace, remedy: 'Look at the log of the Temporal server.' },
    { cause },
  );
}
