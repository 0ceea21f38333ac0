import { oneSidedHalfWidth } from './confidence-sequence.ts';
import { type Estimate, estimateOf } from './estimate.ts';
import { firstErrorEvidence } from './first-error.ts';
import { lowerLimit, upperLimit } from './rare-rate.ts';
import { SAMPLE_RATIO_ALPHA, sampleRatio } from './sample-ratio.ts';
import { bothArms, clockBroken, clockJump, histogramProblem, metricProblem, oneUser } from './soundness.ts';
import type {
  ArmCounts,
  GateFigures,
  GatePlan,
  GateTotals,
  GuardLook,
  GuardPlan,
  Look,
  Reason,
} from './types.ts';
import { figure, tidy } from './wording.ts';

/** Below this many users in an arm the asymptotic sequence is not trusted to stop anything; the first-error test has no such limit. */
export const MIN_LOOK_USERS = 100;

/**
 * One look at the guards, at any hour and as often as one likes. `now` in ms since 1970. The canary is harming users (`harm`) if the interval
 * of any guard lies wholly beyond its limit, or if the first-error test's evidence reaches its threshold. Over all guards and all looks
 * together a harmless canary is stopped with at most alpha.harm.
 */
export function look(plan: GatePlan, figures: GateFigures, now: number): Look {
  const { totals } = figures;
  const stopped = clockBroken(totals, now);
  const clock = stopped ?? clockJump(totals);
  const guards = plan.guards.map((guard) => lookAtGuard(guard, plan, figures, { stopped, clock }));
  const ratio = sampleRatio(totals.traffic, totals.phases);
  const broken = ratio.lnBayesFactor >= -Math.log(SAMPLE_RATIO_ALPHA);
  const strays = bothArms(figures);
  const firstErrors = stopped ? null : firstErrorLook(plan, totals, broken || strays !== null);

  const reasons: Reason[] = clock ? [clock] : [];
  if (firstErrors?.breached) {
    reasons.push({
      code: 'first-errors',
      words:
        `${firstErrors.canary} of ${firstErrors.canary + firstErrors.stable} users who met an error met their first one on the canary: ` +
        `evidence ${tidy(firstErrors.evidence)} ≥ ${tidy(firstErrors.threshold)}`,
    });
  }
  if (broken) reasons.push(brokenRatio(ratio));
  if (strays) reasons.push(strays);
  // A clock's reason stands once, not once per guard.
  for (const { reason } of guards) if (reason && reason.code !== 'clock') reasons.push(reason);

  const harm = guards.some((guard) => guard.breached) || firstErrors?.breached === true;
  const unmeasured =
    clock !== null || broken || strays !== null || guards.some((guard) => guard.state === 'Error');
  return {
    time: now,
    elapsed: now - totals.from,
    state: harm ? 'Failed' : unmeasured ? 'Error' : 'ok',
    harm,
    guards,
    firstErrors,
    sampleRatio: {
      stable: ratio.stable,
      canary: ratio.canary,
      lnBayesFactor: figure(ratio.lnBayesFactor),
      pValue: figure(ratio.pValue),
      broken,
    },
    reasons,
  };
}

export function brokenRatio(ratio: { stable: number; canary: number; expectedCanary: number }): Reason {
  return {
    code: 'sample-ratio',
    words: `${tidy(ratio.canary)} of ${tidy(ratio.canary + ratio.stable)} users are on the canary, ${tidy(ratio.expectedCanary)} were due: the arms cannot be compared`,
  };
}

/**
 * The test bets on the planned share of users on the canary: with a broken sample ratio, or users who change sides, it would take the wrong
 * share for harm, and is silent.
 */
function firstErrorLook(plan: GatePlan, totals: GateTotals, wrongShare: boolean): Look['firstErrors'] {
  const alpha = plan.guards.reduce((sum, guard) => sum + guard.alphaFirstError, 0);
  if (alpha === 0) return null;
  const { stable, canary, evidence } = firstErrorEvidence(totals.traffic, totals.phases);
  const threshold = figure(1 / alpha);
  return {
    stable,
    canary,
    evidence: figure(evidence),
    threshold,
    breached: !wrongShare && figure(evidence) >= threshold,
  };
}

const nobody: ArmCounts = { users: 0, samples: 0 };

/**
 * The interval of one guard, or why there is none. Harm that the usable values show is told whatever is wrong with others; without harm,
 * something wrong leaves the guard without an interval. `stopped`: the clock lets nothing be said; `clock`: it jumped.
 */
function lookAtGuard(
  guard: GuardPlan,
  plan: GatePlan,
  figures: GateFigures,
  { stopped, clock }: { stopped: Reason | null; clock: Reason | null },
): GuardLook {
  const fatal = stopped ?? histogramProblem(guard.metric, figures.totals);
  if (fatal) return withoutInterval(guard, fatal, 'Error');
  const seen = measure(guard, figures);
  const problem = clock ?? metricProblem(guard.metric, plan, figures.totals);
  if (seen.breached || !problem) return seen;
  return { ...seen, se: null, interval: null, state: 'Error', reason: { ...problem, guard: guard.guard } };
}

function limitOf({ metric, tolerance }: GuardPlan): number {
  return metric.direction === 'lower' ? tolerance : -tolerance;
}

function withoutInterval(
  guard: GuardPlan,
  reason: Reason,
  state: 'ok' | 'Error',
  estimate?: Estimate,
): GuardLook {
  return {
    guard: guard.guard,
    stable: estimate?.arms.stable ?? nobody,
    canary: estimate?.arms.canary ?? nobody,
    estimate: estimate ? figure(estimate.difference) : null,
    se: null,
    interval: null,
    limit: limitOf(guard),
    breached: false,
    state,
    reason: { ...reason, guard: guard.guard },
  };
}

function measure(guard: GuardPlan, figures: GateFigures): GuardLook {
  const limit = limitOf(guard);
  const without = (reason: Reason, state: 'ok' | 'Error', estimate?: Estimate) =>
    withoutInterval(guard, reason, state, estimate);
  const estimate = estimateOf(guard.metric, figures);
  if (estimate === 'no-common-stratum') {
    const words = 'no stratum has two users of both arms yet';
    return without(oneUser(figures.totals) ?? { code: estimate, words }, 'ok');
  }
  if (estimate === 'sparse-tail') {
    return without({ code: estimate, words: 'too few samples to bound the 95th percentile yet' }, 'ok');
  }
  const { stable, canary } = estimate.arms;
  if (Math.min(stable.users, canary.users) < MIN_LOOK_USERS) {
    const words = `${stable.users} stable and ${canary.users} canary users; the guard begins at ${MIN_LOOK_USERS} each`;
    return without({ code: 'too-few-users', words }, 'ok', estimate);
  }
  const noEvent = estimate.rates !== null && estimate.means.stable === 0 && estimate.means.canary === 0;
  if (estimate.se === 0 && !noEvent) {
    const words = `every value of ${guard.metric.metric} is the same: nothing was measured`;
    return without({ code: 'zero-variance', words }, 'Error', estimate);
  }
  const interval = noEvent
    ? intervalWithoutEvent(estimate, guard.alphaHarm)
    : sequence(estimate, guard.tau2, guard.alphaHarm);
  const breached =
    !noEvent && (guard.metric.direction === 'lower' ? interval[0] > limit : interval[1] < limit);
  // An arm whose answers all score the same may be a disaster, which the guard's SE still shows, but is never a reason to promote.
  const constant = (['stable', 'canary'] as const).find((arm) => estimate.variance[arm] === 0);
  if (!breached && constant && estimate.rates === null) {
    const words = `every value of ${guard.metric.metric} in the ${constant} arm is the same: was it measured?`;
    return without({ code: 'zero-variance', words }, 'Error', estimate);
  }
  return {
    guard: guard.guard,
    stable,
    canary,
    estimate: figure(estimate.difference),
    se: figure(estimate.se),
    interval,
    limit,
    breached,
    state: breached ? 'Failed' : 'ok',
    reason: breached
      ? {
          code: 'harm',
          guard: guard.guard,
          words: `canary − stable is between ${tidy(interval[0])} and ${tidy(interval[1])}, wholly beyond the limit of ${tidy(limit)}`,
        }
      : null,
  };
}

function sequence(estimate: Estimate, tau2: number, alpha: number): [number, number] {
  const half = oneSidedHalfWidth(estimate.se, tau2, alpha);
  return [figure(estimate.difference - half), figure(estimate.difference + half)];
}

/**
 * No event in either arm: never the interval (0, 0). Each arm's rate lies below 1 − α^(1/n), at every look at once: (1 − p)^−n on no event
 * is a test martingale.
 */
function intervalWithoutEvent(estimate: Estimate, alpha: number): [number, number] {
  const { stable, canary } = estimate.rates ?? { stable: { effective: 1 }, canary: { effective: 1 } };
  return [
    figure(-upperLimit(0, stable.effective, alpha) + lowerLimit(0, canary.effective, alpha)),
    figure(upperLimit(0, canary.effective, alpha)),
  ];
}
