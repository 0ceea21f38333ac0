import type { GatePlan, GuardPlan, HorizonPlan, PlanRefusal } from './types.ts';
import { duration, percent, tidy } from './wording.ts';

/** Why the policy cannot succeed within its last horizon; null if it can, or if nothing is known. */
export function refusalOf(plan: GatePlan, neediest: GuardPlan, forMinimums: number): PlanRefusal | null {
  const { policy } = plan;
  const last = plan.horizons.at(-1);
  if (!last || last.users === null || last.power === null) return null;
  if (plan.horizons.some((horizon) => (horizon.power ?? 0) >= policy.power)) return null;
  const byMinimums = forMinimums >= neediest.usersNeeded;
  const why = byMinimums
    ? `the policy's minimum of ${tidy(policy.minUsers)} users and ${tidy(policy.minSamples)} samples an arm alone needs ${tidy(forMinimums)} at a weight of ` +
      `${percent(policy.weight)}. Lower the minimum, raise the weight, or add a later horizon.`
    : `${neediest.guard} alone needs ${tidy(neediest.usersNeeded)} at a weight of ${percent(policy.weight)} and a margin of ${tidy(neediest.metric.margin)}. ` +
      'Raise the weight or the margin, add a later horizon, or drop the guard.';
  return {
    code: 'POLICY_CANNOT_SUCCEED',
    guard: neediest.guard,
    usersNeeded: plan.usersNeeded,
    usersExpected: Math.floor(last.users),
    words:
      `a canary as good as the stable arm would be ${judgedAs(plan)} with a chance of ${percent(last.power)} only (policy: ${percent(policy.power)}): ` +
      `${tidy(last.users)} users are expected within ${duration(last.after)}, ${tidy(plan.usersNeeded)} are needed; ${why}`,
  };
}

/** The plan for people. */
export function describe(plan: GatePlan): string[] {
  const words = [plan.refusal ? `Refused: ${plan.refusal.words}` : expectation(plan)];
  words.push(
    `With ${tidy(plan.usersToStopTwoMargins)} users a harm of twice any margin is stopped by then with ${percent(plan.policy.power)}.`,
  );
  if (plan.usersNeededIfNoisy > plan.usersNeeded) {
    words.push(
      `Should the canary's values vary more than the stable arm's, it takes longer: ${tidy(plan.usersNeededIfNoisy)} users at twice the variance.`,
    );
  }
  if (plan.assumed) {
    const guessed = plan.guards.filter((guard) => guard.assumed).map((guard) => guard.guard);
    words.push(
      `No users before the release tell how ${guessed.join(', ')} vary: documented defaults are assumed.`,
    );
  }
  const gain = gainWords(plan);
  if (gain !== null) words.push(gain);
  for (const guard of plan.guards) {
    const isRatio = guard.metric.scale !== 'absolute';
    const show = (value: number) => (isRatio ? percent(value) : tidy(value));
    words.push(
      `${guard.guard}: at most ${show(guard.metric.margin)} worse; a harm of ${show(guard.smallestHarmAsMargin)} is stopped with ${percent(plan.policy.power)} by then` +
        (guard.canaryUsersIfNoEvent > 0
          ? `; without any event ${tidy(guard.canaryUsersIfNoEvent)} canary users are needed.`
          : '.'),
    );
  }
  return words;
}

/** When it decides and with how many users. Without earlier traffic nobody can promise either: then, what traffic it would take. */
function expectation(plan: GatePlan): string {
  const horizon = plan.horizons[plan.expectedHorizon];
  if (horizon?.users != null) {
    return (
      `Expected to decide after ${duration(horizon.after)}; ${tidy(plan.usersNeeded)} users of both arms are needed, ${tidy(horizon.users)} are expected; ` +
      `a canary as good as the stable arm is then ${judgedAs(plan)} with a chance of at least ${percent(horizon.power ?? 0)}.`
    );
  }
  const [first, last] = [plan.horizons[0], plan.horizons.at(-1)];
  if (!first || !last) return '';
  const later =
    first === last
      ? ''
      : `, or after ${duration(last.after)}, the last horizon, if ${tidy(last.usersNeeded)} do (${pace(last)})`;
  return (
    'No earlier traffic is known (it takes a time without a canary as long as the first horizon), so nobody can say whether this policy can succeed. A canary as good as the stable arm is ' +
    `${judgedAs(plan)} with ${percent(plan.policy.power)} after ${duration(first.after)} if ${tidy(first.usersNeeded)} users of both arms come by then (new ones: ${pace(first)})${later}.`
  );
}

/** What a success metric asks beyond the guards; null if the policy names none. */
export function gainWords({ guards, policy }: GatePlan): string | null {
  const gains = guards.flatMap(({ guard, metric, smallestGainAsMargin: gain }) =>
    gain === null ? [] : [`${guard} by ${metric.scale === 'absolute' ? tidy(gain) : percent(gain)}`],
  );
  if (gains.length === 0) return null;
  return `To be promoted it must also be better: a canary that improves ${gains.join(', or ')} is found so with ${percent(policy.power)} by then.`;
}

/** What becomes of a canary that passes every guard. */
function judgedAs({ policy }: GatePlan): string {
  return policy.metrics.some(({ role }) => role === 'success') ? 'found to be no worse' : 'promoted';
}

const PACES: [string, number][] = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
];

/** Users a day, or in a shorter unit for a horizon shorter than a day. */
function pace({ usersNeeded, after }: HorizonPlan): string {
  const [unit, length] = PACES.find(([, length]) => after >= length) ?? ['second', 1000];
  return `${tidy(Math.ceil((usersNeeded * length) / after))} ${unit === 'hour' ? 'an' : 'a'} ${unit}`;
}
