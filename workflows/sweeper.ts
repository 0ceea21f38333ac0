import { defineSearchAttributeKey, WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { ParentClosePolicy, setCurrentDetails, startChild } from '@temporalio/workflow';
import type { UnfinishedRelease } from '../activities/sweeping.ts';
import { unfinishedEnds } from '../domain/release/sweeping.ts';
import { findUnfinished } from './housekeeping.ts';
import { sweepIdOf } from './messages.ts';
import { sweep } from './sweep.ts';

const application = defineSearchAttributeKey('SlipwayApplication', 'KEYWORD');

export interface SweeperInput {
  /** How long, in ms, the attempts of a dead workflow are given to come to their end. */
  grace: number;
}

export interface SweeperReport {
  /** Releases whose sweep was started now. */
  swept: string[];
  /** Releases whose sweep is under way since an earlier run. */
  underWay: string[];
}

/**
 * Finds releases whose workflow ended unfinished, and starts a sweep for each (invariant 5). The sweeps go on by themselves, each as long
 * as it takes; two for one release there cannot be, because its workflow id is the release's.
 */
export async function sweeper({ grace }: SweeperInput): Promise<SweeperReport> {
  const found = await findUnfinished.executeWithOptions({ summary: 'Look for dead releases' }, [{ grace }]);
  const report: SweeperReport = { swept: [], underWay: [] };
  for (const unfinished of found) {
    const begun = await begin(unfinished, grace);
    report[begun ? 'swept' : 'underWay'].push(unfinished.release);
  }
  setCurrentDetails(
    found.length === 0
      ? 'Every active release has a workflow that runs, or that has only just ended.'
      : found.map(({ release, how }) => `- ${release}: ${unfinishedEnds[how]}`).join('\n'),
  );
  return report;
}

async function begin({ release, how, ...of }: UnfinishedRelease, grace: number): Promise<boolean> {
  try {
    await startChild(sweep, {
      workflowId: sweepIdOf(release),
      args: [{ release, grace }],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `Sweep ${release}`,
      staticDetails: `${unfinishedEnds[how]}: its traffic goes back and its serving is removed.`,
      typedSearchAttributes: [{ key: application, value: of.application }],
    });
    return true;
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
    throw error;
  }
}
