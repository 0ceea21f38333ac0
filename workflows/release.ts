import {
  ActivityFailure,
  ApplicationFailure,
  allHandlersFinished,
  CancellationScope,
  condition,
  isCancellation,
  workflowInfo,
} from '@temporalio/workflow';
import type { VerdictSummary } from '../activities/contract.ts';
import type { ErrorCode } from '../domain/errors.ts';
import { duration } from '../domain/gate/wording.ts';
import { inputProblem, type ReleaseInput, type ReleasePlan } from '../domain/release/spec.ts';
import type { ReleaseOutcome } from './messages.ts';
import { Run } from './run.ts';
import { statusOf } from './state.ts';

/** The story of a release: from a prompt that somebody wrote to the revision that everybody has, or back. */
export async function release(input: ReleaseInput): Promise<ReleaseOutcome> {
  const problem = inputProblem(input);
  if (problem !== null) throw ApplicationFailure.nonRetryable(problem.message, 'INPUT_INVALID', problem);
  const run = new Run(input);
  try {
    await run.untilStopped(() => advance(run, input));
  } catch (error) {
    return CancellationScope.nonCancellable(() => rollBack(run, error));
  }
  return CancellationScope.nonCancellable(() => complete(run));
}

async function advance(run: Run, input: ReleaseInput): Promise<void> {
  const plan = await register(run, input);
  await preflight(run);
  if (plan.sharesServing) await evaluate(run);
  await provision(run, plan);
  if (!plan.sharesServing) await evaluate(run);
  if (plan.stable === null) {
    await signOff(run, plan);
    return;
  }
  await openCanary(run, plan);
  await decide(run, plan);
  await signOff(run, plan);
  await promote(run, plan);
  await bake(run, plan);
}

async function register(run: Run, input: ReleaseInput): Promise<ReleasePlan> {
  run.enter('registering', `${input.requester} asks for ${input.prompt} on ${input.application}`);
  const plan = await run.act('registerRelease', 'Resolve the revisions and claim the application', {
    input,
    workflowId: workflowInfo().workflowId,
  });
  run.plan = plan;
  run.state.candidate = plan.candidate;
  run.state.stable = plan.stable;
  return plan;
}

async function preflight(run: Run): Promise<void> {
  run.enter('preflight', 'Checking what a canary needs');
  const check = await run.act('checkPreflight', 'Go through the pre-deployment checklist', {});
  run.tell(`Checklist: ${check.summary}`);
  if (!check.passed) throw refused('PREFLIGHT_FAILED', check.summary);
}

async function evaluate(run: Run): Promise<void> {
  run.enter('evaluating', 'Asking the candidate the golden set, before any user meets it');
  const evaluation = await run.act('evaluateCandidate', 'Evaluate on the golden set', {});
  run.tell(`Evaluation: ${evaluation.summary}`);
  run.state.evidence = evaluation.digest;
  if (!evaluation.passed) throw refused('EVALUATION_FAILED', evaluation.summary);
}

async function provision(run: Run, plan: ReleasePlan): Promise<void> {
  if (plan.candidateServing === plan.stableServing) {
    run.enter('provisioning', 'The candidate shares a live serving: nothing to provision');
    return;
  }
  // Another application's serving may have the same model and flags: applying it again changes nothing, and removing it leaves it to its users.
  run.enter('provisioning', 'Starting a serving for the candidate');
  run.undoWith(() =>
    run.act('removeServing', "Remove the candidate's serving", { serving: plan.candidateServing }),
  );
  await run.act('provideServing', 'Apply the serving and wait until it is ready', {
    serving: plan.candidateServing,
  });
}

async function openCanary(run: Run, plan: ReleasePlan): Promise<void> {
  const gatePlan = await run.act('planGate', 'Fix the plan of the gate before the first sample', {});
  run.tell(`Plan: ${gatePlan.summary}`);
  if (!gatePlan.passed) throw refused('POLICY_CANNOT_SUCCEED', gatePlan.summary);
  const since = Date.now();
  run.state.canarySince = new Date(since).toISOString();
  run.enter('canary', `Opening the canary at weight ${plan.timing.canaryWeight}`);
  run.undoWith(() => run.move('withdrawn', 0));
  await run.move('canary', plan.timing.canaryWeight);
  run.watch(() => run.act('watchGuards', 'Watch the guards', { canarySince: since }));
}

async function decide(run: Run, { timing }: ReleasePlan): Promise<void> {
  const since = Date.parse(run.state.canarySince ?? '');
  for (const [index, after] of timing.horizons.entries()) {
    const at = since + after;
    run.state.horizon = { index, at: new Date(at).toISOString() };
    run.tell(`Collecting samples until horizon ${index + 1} of ${timing.horizons.length}`);
    await run.rest(at - Date.now(), `Horizon ${index + 1} of ${timing.horizons.length}`);
    run.enter('deciding', `Horizon ${index + 1}: the gate speaks`);
    const verdict = await run.act('judgeCanary', `Judge at horizon ${index + 1}`, {
      horizon: index,
      canarySince: since,
    });
    record(run, verdict);
    if (verdict.decision === 'promote') return;
    if (verdict.decision === 'rollback') throw refused('GATE_ROLLBACK', verdict.summary);
    if (verdict.decision === 'invalid') throw refused('GATE_INVALID', verdict.summary);
    run.enter('canary', 'The canary goes on to the next horizon, if there is one');
  }
  const spent = `the last horizon, ${duration(timing.horizons.at(-1) ?? 0)} after the canary began, brought no verdict to promote`;
  throw refused(
    'GATE_HORIZONS_SPENT',
    spent,
    'Give the policy a later one in gate.horizons, or ask for less',
  );
}

function record(run: Run, verdict: VerdictSummary): void {
  run.state.verdict = verdict.decision;
  run.state.evidence = verdict.evidence;
  run.tell(`Verdict ${verdict.summary}`);
}

async function signOff(run: Run, { timing }: ReleasePlan): Promise<void> {
  if (!timing.signOffRequired) return;
  run.enter('sign-off', `Waiting for a sign-off of the evidence ${run.state.evidence}`);
  await run.act('notify', 'Ask the approvers', {
    event: 'sign-off',
    text: 'The release waits for a sign-off',
  });
  const signed = await condition(() => run.state.approval !== null, timing.signOffTimeout, {
    summary: 'Sign-off timeout',
  });
  if (!signed) {
    const reason = `nobody signed off within ${duration(timing.signOffTimeout)}`;
    throw refused('SIGN_OFF_TIMEOUT', reason, 'Start the release again when an approver has time');
  }
  await condition(() => !run.state.paused);
}

async function promote(run: Run, { timing }: ReleasePlan): Promise<void> {
  run.enter('promoting', `Promoting by the weights ${timing.promotionSteps.join(', ')}`);
  // The verdict may be days old: the sign-off took its time.
  await run.hold(0, 'Look at the guards before the first step');
  for (const weight of timing.promotionSteps) {
    run.tell(`Raising the weight to ${weight}`);
    await run.move('canary', weight);
    await run.hold(timing.hold, `Hold at weight ${weight}`);
  }
}

async function bake(run: Run, { timing }: ReleasePlan): Promise<void> {
  run.enter('baking', 'Everybody is on the candidate; the stable revision is kept warm');
  await run.hold(timing.baking, 'Bake');
}

/** From here on nothing stops the release. It ends before the old serving goes, so that a cluster which hangs keeps nobody from the next. */
async function complete(run: Run): Promise<ReleaseOutcome> {
  run.enter('done', 'The candidate becomes the stable revision');
  await run.move('promoted', 0);
  await end(run, 'promoted');
  const old = run.plan?.stableServing;
  if (old && old !== run.plan?.candidateServing) {
    await run.act('removeServing', "Remove the old revision's serving", { serving: old });
  }
  return outcomeOf(run, 'promoted', 'every gate was passed');
}

async function rollBack(run: Run, error: unknown): Promise<ReleaseOutcome> {
  const { state } = run;
  // Refused at registration: nothing was begun, and the caller gets the refusal as it is.
  if (run.plan === null && state.stop === null && !isCancellation(error)) {
    state.reason = run.stopFor(error).reason;
    run.enter('rolled-back', `Refused: ${state.reason}`);
    throw error instanceof ActivityFailure && error.cause ? error.cause : error;
  }
  state.stop ??= run.stopFor(error);
  state.reason = state.stop.reason;
  run.enter('rolling-back', `Rolling back: ${state.reason}`);
  await run.undo();
  run.enter('rolled-back', state.stable === null ? 'Nothing serves' : 'Everybody is on the stable revision');
  await end(run, 'rolled-back');
  return outcomeOf(run, 'rolled-back', state.reason);
}

async function end(run: Run, outcome: ReleaseOutcome['outcome']): Promise<void> {
  await run.act('endRelease', 'Record the end and free the application', { outcome });
}

async function outcomeOf(
  run: Run,
  outcome: ReleaseOutcome['outcome'],
  reason: string,
): Promise<ReleaseOutcome> {
  await condition(allHandlersFinished);
  const { release, evidence } = run.state;
  return { release, outcome, reason, evidence, status: statusOf(run.state) };
}

/** A bad value stops the release; the code is what scripts match on. */
function refused(code: ErrorCode, reason: string, remedy?: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(remedy === undefined ? reason : `${reason}. ${remedy}`, code);
}
