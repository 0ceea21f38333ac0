import { setCurrentDetails } from '@temporalio/workflow';
import type { Progress } from '../activities/contract.ts';
import { SWEEP_NUMBER, sweptAs } from '../domain/release/sweeping.ts';
import { activities } from './activities.ts';
import { beginSweep } from './housekeeping.ts';
import type { SweepInput, SweepOutcome } from './messages.ts';

/** Ends a release whose workflow did not: what its own roll-back, or its own completion, would have done, with the same activities. */
export async function sweep({ release, grace, because }: SweepInput): Promise<SweepOutcome> {
  const look = { summary: "Fence the dead workflow's moves and see where the traffic stands" };
  const plan = await beginSweep.executeWithOptions(look, [{ release, grace }]);
  if (plan === null) return { release, outcome: null, reason: null };
  const { outcome, to, remove } = plan;
  const reason = because === undefined ? plan.reason : `${because}; ${plan.reason}`;
  let sequence = SWEEP_NUMBER;
  const tell = (text: string, ended = false): { progress: Progress } => {
    sequence += 1;
    setCurrentDetails(`${text}\n\n${reason}`);
    const { stage, phase } = sweptAs(outcome, ended);
    const story = [{ at: new Date().toISOString(), stage, text }];
    return { progress: { release, sequence, stage, phase, reason, story } };
  };

  const first =
    outcome === 'promoted' ? `Completing a promotion: ${reason}` : `Rolling back by a sweep: ${reason}`;
  await activities.moveTraffic.executeWithOptions(
    { summary: 'Wait until every gateway has the stable route' },
    [{ ...tell(first), move: { to, weight: 0, phase: SWEEP_NUMBER, canarySince: null } }],
  );
  const removeIt = async (): Promise<void> => {
    if (remove === null) return;
    const step = { ...tell('The serving that nobody needs is removed'), serving: remove };
    await activities.removeServing.executeWithOptions({ summary: 'Remove the serving' }, [step]);
  };
  if (outcome === 'rolled-back') await removeIt();
  const last = tell(
    outcome === 'promoted' ? 'The candidate is the stable revision' : 'Nobody is on the candidate any more',
    true,
  );
  await activities.endRelease.executeWithOptions({ summary: 'Record the end and free the application' }, [
    { ...last, outcome },
  ]);
  await activities.notify.executeWithOptions({ summary: 'Tell people' }, [
    { ...last, event: 'swept', text: `The release was ended by a sweep, ${outcome}: ${reason}` },
  ]);
  // As a promotion does by itself: the old serving keeps nobody from the next release.
  if (outcome === 'promoted') await removeIt();
  return { release, outcome, reason };
}
