import { createJudge } from './autoevals.ts';
import type { Judge } from './judge.ts';

/** The judge that SLIPWAY_JUDGE_URL (with `/v1`), SLIPWAY_JUDGE_MODEL and SLIPWAY_JUDGE_KEY name; null without the first two. */
export function judgeFromEnvironment(
  env: NodeJS.ProcessEnv,
  options: { reasons?: boolean } = {},
): Judge | null {
  const { SLIPWAY_JUDGE_URL: url, SLIPWAY_JUDGE_MODEL: model, SLIPWAY_JUDGE_KEY: key } = env;
  if (!url || !model) return null;
  return createJudge({ url, model, key: key || undefined, ...options });
}
