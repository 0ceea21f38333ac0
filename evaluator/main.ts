import { pino } from 'pino';
import { createJudge } from '../adapters/judge/autoevals.ts';
import { fatalForLog } from '../domain/error-for-log.ts';
import { countSetting, portSetting, requiredSetting } from '../domain/settings.ts';
import { openDatabase } from '../store/database.ts';
import { startEvaluator } from './evaluator.ts';

/**
 * The online evaluator as a process. Environment: DATABASE_URL; SLIPWAY_JUDGE_URL (with `/v1`), SLIPWAY_JUDGE_MODEL, SLIPWAY_JUDGE_KEY;
 * SLIPWAY_EVALUATOR_NAME, SLIPWAY_EVALUATOR_CRITERIA and SLIPWAY_EVALUATOR_CONCURRENCY; SLIPWAY_EVALUATOR_PORT (9465) and
 * SLIPWAY_EVALUATOR_HOST (127.0.0.1) of its /metrics and /health.
 */
const env = process.env;
const log = pino({ name: 'slipway-evaluator' });

try {
  const url = requiredSetting(env, 'SLIPWAY_JUDGE_URL', 'Set it to an OpenAI API, with /v1');
  const model = requiredSetting(
    env,
    'SLIPWAY_JUDGE_MODEL',
    'Set it to a model that SLIPWAY_JUDGE_URL serves',
  );
  const databaseUrl = requiredSetting(env, 'DATABASE_URL', 'Set it to postgres://…');
  const concurrency = countSetting(env, 'SLIPWAY_EVALUATOR_CONCURRENCY');
  const port = portSetting(env, 'SLIPWAY_EVALUATOR_PORT', 9465);
  const db = openDatabase(databaseUrl, { applicationName: 'slipway-evaluator' });
  const evaluator = await startEvaluator({
    db,
    judge: createJudge({ url, model, key: env.SLIPWAY_JUDGE_KEY || undefined }),
    log,
    name: env.SLIPWAY_EVALUATOR_NAME || undefined,
    criteria: env.SLIPWAY_EVALUATOR_CRITERIA || undefined,
    concurrency,
    port,
    host: env.SLIPWAY_EVALUATOR_HOST,
  });
  const stop = async () => {
    await evaluator.stop();
    await db.end();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop());
  log.info({ url: evaluator.url }, 'evaluator started');
} catch (error) {
  log.fatal(fatalForLog(error), 'the evaluator cannot start');
  process.exitCode = 1;
}
