import type { SignalDefinition, UpdateDefinition } from '@temporalio/common';
import { ApplicationFailure, setHandler } from '@temporalio/workflow';
import { type DecisionName, type DecisionRequest, refusalOf } from '../domain/release/decisions.ts';
import { type Approval, type Decision, queries, type ReleaseStatus, signals, updates } from './messages.ts';
import type { Run } from './run.ts';
import { statusOf } from './state.ts';

/** Sets every handler; called before the workflow's first await, so that no message finds it deaf. */
export function listen(run: Run): void {
  setHandler(queries.status, () => statusOf(run.state));
  setHandler(queries.explain, () => run.state.story);
  hear<Approval>(run, 'approve', (approval) => {
    run.state.approval = approval;
    run.tell(`Signed off by ${approval.by}${because(approval)}`);
  });
  hear(run, 'reject', (decision) => {
    run.stop({ reason: `rejected by ${decision.by}${because(decision)}`, by: decision.by });
  });
  hear(run, 'pause', (decision) => {
    run.state.paused = true;
    run.state.reason = `paused by ${decision.by}${because(decision)}`;
    run.tell(`Paused by ${decision.by}${because(decision)}; guards keep watching`);
  });
  hear(run, 'resume', (decision) => {
    run.state.paused = false;
    run.state.reason = null;
    run.tell(`Resumed by ${decision.by}${because(decision)}`);
  });
  hear(run, 'abort', (decision) => {
    run.stop({ reason: `aborted by ${decision.by}${because(decision)}`, by: decision.by });
  });
}

/** One rule for both doors: an update is refused before it reaches history, a signal is recorded and refused aloud. */
function hear<T extends Decision>(run: Run, name: DecisionName, accept: (decision: T) => void): void {
  // The two tables are typed per name; here the name is a variable.
  const update = updates[name] as unknown as UpdateDefinition<ReleaseStatus, [T]>;
  const signal = signals[name] as unknown as SignalDefinition<[T]>;
  const refusal = (decision: DecisionRequest) =>
    refusalOf(name, decision, {
      ...run.state,
      signed: run.state.approval !== null,
      stopping: run.state.stop !== null,
    });
  setHandler(
    update,
    (decision) => {
      accept(decision);
      return statusOf(run.state);
    },
    {
      validator: (decision) => {
        const refused = refusal(decision);
        if (refused !== null) {
          throw ApplicationFailure.nonRetryable(refused.message, refused.code, refused);
        }
      },
    },
  );
  setHandler(signal, (decision) => {
    const refused = refusal(decision);
    if (refused === null) accept(decision);
    else run.ignore(`Ignored the signal ${name}: ${refused.message}. ${refused.remedy}`);
  });
}

function because(decision: Decision): string {
  return decision.reason ? `: ${decision.reason}` : '';
}
