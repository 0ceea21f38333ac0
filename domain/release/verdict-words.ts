import { counted } from '../counted.ts';
import { gainWords } from '../gate/plan-words.ts';
import type { Decision, GatePlan, GuardPlan, GuardVerdict, Verdict } from '../gate/types.ts';
import { duration, percent, tidy } from '../gate/wording.ts';

/** Guards that a line has room for. */
const SHOWN = 4;

/** A verdict in one line: the decision, why, the guards that matter most with their figures, and how much was seen. */
export function verdictWords(plan: GatePlan, verdict: Verdict): string {
  const { stable, canary } = verdict.arms;
  const seen =
    `${counted(tidy(canary.samples), 'sample')} of ${counted(tidy(canary.users), 'user')} on canary, ` +
    `${tidy(stable.samples)} of ${tidy(stable.users)} on stable, after ${duration(verdict.elapsed)}`;
  const byGravity = [...verdict.guards].sort((a, b) => gravity(a) - gravity(b));
  const figures = byGravity.slice(0, SHOWN).flatMap((guard) => {
    const planned = plan.guards.find((candidate) => candidate.guard === guard.guard);
    return planned === undefined ? [] : [guardWords(planned, guard)];
  });
  const others = byGravity.slice(SHOWN).map(({ guard }) => guard);
  const more = others.length === 0 ? [] : [`and ${others.join(', ')}`];
  return [`${verdict.decision}${reasonOf(verdict)}`, ...figures, ...more, seen].join('; ');
}

/** 0: it decided against the canary; 1: it could not be measured; 2: it may not be better by chance only; 3: fine. */
function gravity(guard: GuardVerdict): number {
  if (guard.breached) return 0;
  if (guard.bound === null) return 1;
  return guard.nonInferior ? 3 : 2;
}

const DECISIVE: Record<Decision, readonly string[]> = {
  promote: [],
  rollback: ['first-errors', 'horizons-spent'],
  invalid: ['sample-ratio', 'both-arms', 'clock'],
  continue: ['not-yet-horizon', 'not-superior', 'not-covered', 'uneven-scores'],
};

/** What is said of no guard alone, and whose figures are to be looked at when the canary goes on. */
function reasonOf({ decision, reasons }: Verdict): string {
  const words = reasons.filter(({ code }) => DECISIVE[decision].includes(code)).map((reason) => reason.words);
  const unsure = reasons.flatMap(({ code, guard }) => (code === 'not-non-inferior' && guard ? [guard] : []));
  if (decision === 'continue' && unsure.length > 0) {
    words.push(`${unsure.join(', ')} may be worse than the limit`);
  }
  return words.length === 0 ? '' : ` (${words.join('; ')})`;
}

function guardWords({ guard, metric }: GuardPlan, seen: GuardVerdict): string {
  if (seen.stableMean === null || seen.canaryMean === null || seen.estimate === null || seen.bound === null) {
    // A clock's reason stands at the head, for all guards.
    const why = seen.reason === null || seen.reason.code === 'clock' ? '' : `: ${seen.reason.words}`;
    return `${guard} not measured${why}`;
  }
  const effect = (value: number) =>
    metric.scale === 'absolute'
      ? `${value < 0 ? '−' : '+'}${tidy(Math.abs(value))}`
      : `${value < 0 ? '−' : '+'}${percent(Math.abs(Math.expm1(value)))}`;
  const interval = seen.interval === null ? '' : ` in [${seen.interval.map(effect).join(', ')}]`;
  return (
    `${seen.breached ? 'harm: ' : ''}${guard} ${tidy(seen.stableMean)} → ${tidy(seen.canaryMean)} (${effect(seen.estimate)}${interval}, ` +
    `at worst ${effect(seen.bound)}, limit ${effect(seen.limit)})`
  );
}

/** The plan in one line: how long, how many, and the smallest harm that is seen by then. */
export function planWords(plan: GatePlan): string {
  if (plan.refusal !== null) return plan.refusal.words;
  const harms = plan.guards.map(({ guard, metric, smallestHarmAsMargin: harm }) => {
    return `${guard} ${metric.scale === 'absolute' ? tidy(harm) : percent(harm)}`;
  });
  const guessed = plan.assumed ? ' Spreads are assumed where no earlier traffic shows them.' : '';
  const gain = gainWords(plan);
  const better = gain === null ? '' : ` ${gain}`;
  return `${plan.words[0] ?? ''}${guessed}${better} Smallest harm seen by then: ${harms.join(', ')}.`;
}
