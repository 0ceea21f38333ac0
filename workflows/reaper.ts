import { ActivityFailure, isCancellation, setCurrentDetails } from '@temporalio/workflow';
import type { Unneeded } from '../activities/reaping.ts';
import { counted } from '../domain/counted.ts';
import { inspectServings, reapServing } from './housekeeping.ts';

export interface ReaperInput {
  /** How long, in ms, a serving must have been unneeded before it is removed. */
  grace: number;
  /** Report only. */
  dryRun: boolean;
}

export interface ReaperReport {
  /** Servings that nobody needs, with the GPUs that they hold and the GPU hours that they have wasted. */
  unneeded: number;
  gpus: number;
  gpuHours: number;
  /** By their names. `due`: would go if this were no dry run. */
  due: string[];
  removed: string[];
  /** Somebody needs them after all. */
  kept: string[];
  /** Why they could not be removed in this run; the next one tries again. */
  notRemoved: Record<string, string>;
}

/** Finds servings that nobody needs, reports what they waste, and removes those whose grace is over. */
export async function reaper({ grace, dryRun }: ReaperInput): Promise<ReaperReport> {
  const look = { summary: 'Look which servings nobody needs' };
  const found = await inspectServings.executeWithOptions(look, [{ grace, dryRun }]);
  const due = found.filter((unneeded) => unneeded.due);
  const report: ReaperReport = {
    unneeded: found.length,
    gpus: found.reduce((sum, { gpus }) => sum + gpus, 0),
    gpuHours: found.reduce((sum, unneeded) => sum + unneeded.gpuHours, 0),
    due: due.map(({ name }) => name),
    removed: [],
    kept: [],
    notRemoved: {},
  };
  setCurrentDetails(detailsOf(found, dryRun));
  // Side by side: one that gateways still hold does not keep the others.
  if (!dryRun) await Promise.all(due.map((unneeded) => reap(unneeded, report)));
  return report;
}

async function reap({ serving, name }: Unneeded, report: ReaperReport): Promise<void> {
  try {
    const end = await reapServing.executeWithOptions({ summary: `Remove ${name}` }, [{ serving }]);
    report[end].push(name);
  } catch (error) {
    if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
    report.notRemoved[name] = error.cause?.message ?? error.message;
  }
}

function detailsOf(found: readonly Unneeded[], dryRun: boolean): string {
  if (found.length === 0) return 'Every serving is needed by a route or an active release.';
  const lines = found.map(
    ({ name, gpus, gpuHours, due }) =>
      `- ${name}: ${counted(gpus, 'GPU')}, ${gpuHours.toFixed(1)} GPU hours wasted${due ? '; its grace is over' : ''}`,
  );
  return [dryRun ? 'Dry run: nothing is removed.' : 'Those whose grace is over are removed.', ...lines].join(
    '\n',
  );
}
