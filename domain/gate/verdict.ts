import { counted } from '../counted.ts';
import { digestOf } from '../digest.ts';
import type { Arm } from '../words.ts';
import { tCritical, tUpperTail } from './distributions.ts';
import { type Estimate, estimateOf, readable } from './estimate.ts';
import { figuresDigest } from './evidence.ts';
import { brokenRatio, look } from './look.ts';
import { holm } from './multiplicity.ts';
import { differenceLimits } from './rare-rate.ts';
import { referenceFigures } from './reference.ts';
import { SAMPLE_RATIO_ALPHA, sampleRatio } from './sample-ratio.ts';
import { coverageProblems, unevenScores } from './soundness.ts';
import type {
  ArmCounts,
  Decision,
  GateFigures,
  GatePlan,
  GuardLook,
  GuardPlan,
  GuardVerdict,
  Reason,
  ReasonCode,
  Verdict,
} from './types.ts';
import { duration, figure, tidy } from './wording.ts';

/** Reasons for which no data could ever decide: the measurement is broken. */
const UNUSABLE: ReadonlySet<ReasonCode> = new Set([
  'clock',
  'not-finite',
  'infinite',
  'out-of-range',
  'metric-missing',
  'both-arms',
]);

/**
 * The gate, at one of the plan's horizons (0-based). The watermark `totals.to` is its time.
 *  - `rollback`: a guard shows harm; or this is the last horizon and nothing was decided (fail closed).
 *  - `invalid`: the sample ratio is broken or the data cannot be trusted. Data that are merely lacking wait for the next horizon.
 *  - `promote`: every guard is non-inferior with the samples and users that the policy wants, and a success metric, if the policy names one,
 *    is better.
 *  - `continue`: anything else.
 * Pure: the same plan and figures give the same verdict, byte for byte.
 */
export function judge(plan: GatePlan, figures: GateFigures, horizonIndex: number): Verdict {
  const horizon = plan.horizons[horizonIndex];
  if (!horizon) throw new RangeError(`the plan has no horizon ${horizonIndex}`);
  const { totals } = figures;
  const seen = look(plan, figures, totals.to);
  const ratio = sampleRatio(totals.traffic, totals.phases);
  const broken = seen.sampleRatio.broken || ratio.pValue < SAMPLE_RATIO_ALPHA;
  const guards = guardVerdicts(plan, figures, seen.guards, horizon.alpha);
  const arms = {
    stable: traffic(figures, guards, 'stable', ratio.stable),
    canary: traffic(figures, guards, 'canary', ratio.canary),
  };
  const shortfalls = [
    ...shortfall(plan, arms),
    ...coverageProblems(plan, totals),
    ...plan.guards.flatMap(({ metric, guard }) => unevenScores(metric, guard, figures) ?? []),
  ];

  const reasons: Reason[] = seen.reasons.filter((reason) => reason.code !== 'sample-ratio');
  if (broken) reasons.push(brokenRatio(ratio));
  reasons.push(...shortfalls);

  const elapsed = totals.to - totals.from;
  const early = elapsed < horizon.after;
  if (early) {
    reasons.push({
      code: 'not-yet-horizon',
      words: `${duration(elapsed)} of data; the horizon is ${duration(horizon.after)}`,
    });
  }
  const measured = guards.filter((guard) => guard.bound !== null);
  for (const guard of measured) {
    if (guard.nonInferior) continue;
    reasons.push({
      code: 'not-non-inferior',
      guard: guard.guard,
      words: `canary − stable may be as bad as ${tidy(guard.bound ?? 0)}; the limit is ${tidy(guard.limit)}`,
    });
  }
  const successes = guards.filter((guard) => guard.superior !== null);
  const anySuperior = successes.length === 0 || successes.some((guard) => guard.superior);
  if (!anySuperior) {
    reasons.push({
      code: 'not-superior',
      words: `none of ${successes.map((g) => g.guard).join(', ')} is better`,
    });
  }

  const last = horizonIndex === plan.horizons.length - 1;
  const promotable =
    !early && shortfalls.length === 0 && guards.every((guard) => guard.nonInferior) && anySuperior;
  const unusable = broken || reasons.some((reason) => UNUSABLE.has(reason.code));
  let decision: Decision = 'continue';
  if (seen.harm) decision = 'rollback';
  else if (unusable) decision = 'invalid';
  else if (promotable) decision = 'promote';
  else if (last && !early) decision = 'rollback';

  if (decision === 'rollback' && !seen.harm) {
    reasons.push({ code: 'horizons-spent', words: 'this was the last horizon: the gate fails closed' });
  }
  if (decision === 'promote') reasons.push(...praise(guards));
  const spent = plan.horizons.slice(0, horizonIndex + 1).reduce((sum, { alpha }) => sum + alpha, 0);
  return {
    version: 1,
    decision,
    reasons,
    horizon: {
      index: horizonIndex,
      after: horizon.after,
      last,
      alpha: horizon.alpha,
      alphaSpent: figure(spent),
    },
    elapsed,
    arms,
    guards,
    firstErrors: seen.firstErrors,
    sampleRatio: {
      expectedCanary: figure(ratio.expectedCanary),
      canary: ratio.canary,
      users: ratio.stable + ratio.canary,
      chiSquare: figure(ratio.chiSquare),
      pValue: figure(ratio.pValue),
      broken,
    },
    planDigest: digestOf(plan),
    figuresDigest: figuresDigest(figures),
  };
}

/**
 * Requests and distinct users of an arm. The sample ratio counts a user in the arm of the first request only; one who came to the canary
 * with a rising weight is counted by the metrics.
 */
function traffic(
  figures: GateFigures,
  guards: readonly GuardLook[],
  arm: Arm,
  firstUsers: number,
): ArmCounts {
  const rows = figures.totals.traffic.filter((row) => row.arm === arm);
  return {
    users: Math.max(firstUsers, ...guards.map((guard) => guard[arm].users)),
    samples: rows.reduce((sum, row) => sum + row.requests, 0),
  };
}

function guardVerdicts(
  plan: GatePlan,
  figures: GateFigures,
  looks: GuardLook[],
  alpha: number,
): GuardVerdict[] {
  const verdicts = plan.guards.map((guard, index): { verdict: GuardVerdict; rawP: number | null } => {
    const seen = looks[index];
    if (!seen) throw new RangeError(`no look at ${guard.guard}`);
    const estimate = seen.interval === null ? null : estimateOf(guard.metric, figures);
    if (estimate === null || typeof estimate === 'string')
      return { verdict: unmeasured(seen, guard), rawP: null };
    const bound = harmBound(guard, estimate, alpha);
    const better = guard.metric.direction === 'lower' ? -estimate.difference : estimate.difference;
    const rawP =
      guard.metric.role === 'success' && estimate.se > 0
        ? tUpperTail(better / estimate.se, estimate.degreesOfFreedom)
        : null;
    return {
      verdict: {
        ...seen,
        bound,
        degreesOfFreedom: figure(estimate.degreesOfFreedom),
        nonInferior: guard.metric.direction === 'lower' ? bound < seen.limit : bound > seen.limit,
        superiorityP: null,
        superior: guard.metric.role === 'success' ? false : null,
        stableMean: figure(readable(guard.metric, estimate.means.stable)),
        canaryMean: figure(readable(guard.metric, estimate.means.canary)),
        reference: referenceFigures(guard.metric, figures.totals),
      },
      rawP,
    };
  });
  const tested = verdicts.filter((entry) => entry.rawP !== null);
  const adjusted = holm(tested.map((entry) => entry.rawP ?? 1));
  for (const [index, entry] of tested.entries()) {
    const p = figure(adjusted[index] ?? 1);
    entry.verdict.superiorityP = p;
    entry.verdict.superior = p <= alpha;
  }
  return verdicts.map((entry) => entry.verdict);
}

function unmeasured(seen: GuardLook, guard: GuardPlan): GuardVerdict {
  return {
    ...seen,
    bound: null,
    degreesOfFreedom: null,
    nonInferior: false,
    superiorityP: null,
    superior: guard.metric.role === 'success' ? false : null,
    stableMean: null,
    canaryMean: null,
    reference: null,
  };
}

/**
 * The worst effect that is not excluded at one-sided α: d ∓ t_{1−α,ν}·SE; for rates also the exact limit, whichever is worse, since the
 * normal approximation is poor with few events and empty without any.
 */
function harmBound(guard: GuardPlan, estimate: Estimate, alpha: number): number {
  const reach = estimate.se === 0 ? 0 : tCritical(alpha, estimate.degreesOfFreedom) * estimate.se;
  const exact = estimate.rates ? differenceLimits(estimate.rates.stable, estimate.rates.canary, alpha) : null;
  return guard.metric.direction === 'lower'
    ? figure(Math.max(estimate.difference + reach, exact?.upper ?? Number.NEGATIVE_INFINITY))
    : figure(Math.min(estimate.difference - reach, exact?.lower ?? Number.POSITIVE_INFINITY));
}

/**
 * What the policy wants of each arm's traffic. A metric that only a share of the requests has (scores) answers for itself: by its own
 * users, standard error and degrees of freedom, and never with fewer users than a look needs.
 */
function shortfall({ policy }: GatePlan, { stable, canary }: Record<Arm, ArmCounts>): Reason[] {
  const samples = Math.min(stable.samples, canary.samples);
  const users = Math.min(stable.users, canary.users);
  const reasons: Reason[] = [];
  if (samples < policy.minSamples) {
    const words = `${counted(tidy(samples), 'sample')} in the smaller arm; the policy wants ${tidy(policy.minSamples)}`;
    reasons.push({ code: 'too-few-samples', words });
  }
  if (users < policy.minUsers) {
    const words = `${counted(tidy(users), 'user')} in the smaller arm; the policy wants ${tidy(policy.minUsers)}`;
    reasons.push({ code: 'too-few-users', words });
  }
  return reasons;
}

function praise(guards: readonly GuardVerdict[]): Reason[] {
  return guards.map((guard) =>
    guard.superior
      ? {
          code: 'superior',
          guard: guard.guard,
          words: `better than stable, p ${tidy(guard.superiorityP ?? 0)}`,
        }
      : {
          code: 'non-inferior',
          guard: guard.guard,
          words: `canary − stable is ${guard.limit > 0 ? 'below' : 'above'} ${tidy(guard.bound ?? 0)}; the limit is ${tidy(guard.limit)}`,
        },
  );
}
