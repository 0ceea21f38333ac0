import { isDeepStrictEqual } from 'node:util';
import {
  type Connection,
  isGrpcServiceError,
  ScheduleAlreadyRunning,
  ScheduleClient,
  type ScheduleDescription,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
  type ScheduleUpdateOptions,
} from '@temporalio/client';
import { formatDuration } from '../../domain/duration.ts';
import type { Topology } from './topology.ts';

/** How late a run may still begin, ms: a run that an outage made miss its time is of no use later, the next one sees as much. */
const CATCHUP_MS = 60_000;

const PERMISSION_DENIED = 7;

/** A schedule as the topology wants it. `key` is its place in temporal.yaml, and the type of its workflow. */
interface Wanted {
  key: 'sweeper' | 'reaper';
  every: number;
  input: Record<string, unknown>;
  details: string;
}

const keys = ['sweeper', 'reaper'] as const;

const idOf = (key: Wanted['key']): string => `slipway-${key}`;

function wantedBy({ sweeper, reaper }: Topology): Wanted[] {
  const wanted: Wanted[] = [];
  if (sweeper !== undefined) {
    const { every, grace } = sweeper;
    const details = `Ends releases whose workflow ended unfinished more than ${formatDuration(grace)} ago.`;
    wanted.push({ key: 'sweeper', every, input: { grace }, details });
  }
  if (reaper !== undefined) {
    const { every, grace, dryRun } = reaper;
    const action = dryRun ? 'Reports' : `Reports, and removes after ${formatDuration(grace)},`;
    wanted.push({
      key: 'reaper',
      every,
      input: { grace, dryRun },
      details: `${action} servings that no route and no active release needs.`,
    });
  }
  return wanted;
}

function optionsFor({ key, every, input, details }: Wanted, taskQueue: string) {
  return {
    spec: { intervals: [{ every }] },
    action: {
      type: 'startWorkflow',
      workflowType: key,
      // The server appends the time of the run.
      workflowId: idOf(key),
      taskQueue,
      args: [input],
      staticSummary: details,
      staticDetails: `Made by temporal.yaml (${key}), every ${formatDuration(every)}.`,
    },
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: CATCHUP_MS },
  } as const satisfies Omit<ScheduleUpdateOptions, 'state'>;
}

/** What of a schedule the topology decides; whether it is paused is the operator's. */
function shapeOf({ spec, action, policies }: ScheduleDescription) {
  return {
    every: spec.intervals?.map((interval) => interval.every),
    otherTimes: (spec.calendars?.length ?? 0) > 0,
    workflowType: action.workflowType,
    taskQueue: action.taskQueue,
    args: action.args,
    overlap: policies.overlap,
    catchup: policies.catchupWindow,
  };
}

function shapeWanted({ key, every, input }: Wanted, taskQueue: string): ReturnType<typeof shapeOf> {
  return {
    every: [every],
    otherTimes: false,
    workflowType: key,
    taskQueue,
    args: [input],
    overlap: ScheduleOverlapPolicy.SKIP,
    catchup: CATCHUP_MS,
  };
}

const said = (input: unknown): string =>
  Object.entries((input ?? {}) as Record<string, unknown>)
    .map(([name, value]) => `${name} ${typeof value === 'number' ? formatDuration(value) : value}`)
    .join(', ');

async function describe(client: ScheduleClient, key: Wanted['key']): Promise<ScheduleDescription | null> {
  try {
    return await client.getHandle(idOf(key)).describe();
  } catch (error) {
    if (error instanceof ScheduleNotFoundError) return null;
    throw error;
  }
}

/**
 * Creates the topology's schedules or changes them to match, and leaves a paused one paused. Those that the topology does not have stay.
 * @returns what was changed, and what is not as the topology says, as [key of temporal.yaml, why, remedy]
 */
export async function applySchedules(
  topology: Topology,
  connection: Connection,
): Promise<{ changed: string[]; notSet: [field: string, why: string, remedy: string][] }> {
  const client = new ScheduleClient({ connection, namespace: topology.namespace.name });
  const wanted = wantedBy(topology);
  const changed: string[] = [];
  const notSet: [string, string, string][] = [];
  try {
    for (const schedule of wanted)
      changed.push(...(await applyOne(client, schedule, topology.taskQueue.name)));
    for (const key of keys.filter((name) => topology[name] === undefined)) {
      if ((await describe(client, key)) === null) continue;
      const remedy = `Applying removes none: temporal schedule delete --schedule-id ${idOf(key)}`;
      notSet.push([key, `the server has the schedule ${idOf(key)}, temporal.yaml does not`, remedy]);
    }
  } catch (error) {
    const denied = [error, (error as Error).cause].find(isGrpcServiceError);
    if (denied?.code !== PERMISSION_DENIED) throw error;
    const why = `the server does not let this client manage schedules (${denied.message})`;
    for (const { key } of wanted) notSet.push([key, why, 'Apply with a key that may write schedules.']);
  }
  return { changed, notSet };
}

async function applyOne(client: ScheduleClient, wanted: Wanted, taskQueue: string): Promise<string[]> {
  const { key, every, input } = wanted;
  const id = idOf(key);
  const options = optionsFor(wanted, taskQueue);
  const standing = await describe(client, key);
  if (standing === null) {
    try {
      await client.create({ scheduleId: id, ...options });
    } catch (error) {
      if (error instanceof ScheduleAlreadyRunning) return []; // another process was quicker
      throw error;
    }
    return [`created schedule ${id}, every ${formatDuration(every)} with ${said(input)}`];
  }
  const before = shapeOf(standing);
  if (isDeepStrictEqual(before, shapeWanted(wanted, taskQueue))) return [];
  await client.getHandle(id).update(({ state }) => ({ ...options, state }));
  const was = `every ${before.every?.map(formatDuration).join(' and ')} with ${said(before.args?.[0])}`;
  const paused = standing.state.paused ? '; it stays paused' : '';
  return [
    `changed schedule ${id} from ${was} to every ${formatDuration(every)} with ${said(input)}${paused}`,
  ];
}
