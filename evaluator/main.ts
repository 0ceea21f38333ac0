import { pino } from 'pino';
import { judgeFromEnvironment } from '../adapters/judge/environment.ts';
import { SlipwayError } from '../domain/errors.ts';
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
  const judge = judgeFromEnvironment(env);
  if (judge === null) throw missing('SLIPWAY_JUDGE_URL', 'Set it, and SLIPWAY_JUDGE_MODEL, to an OpenAI API');
  if (!env.DATABASE_URL) throw missing('DATABASE_URL', 'Set it to postgres://…');
  const db = openDatabase(env.DATABASE_URL, { applicationName: 'slipway-evaluator' });
  const evaluator = await startEvaluator({
    db,
    judge,
    log,
    name: env.SLIPWAY_EVALUATOR_NAME || undefined,
    criteria: env.SLIPWAY_EVALUATOR_CRITERIA || undefined,
    concurrency: Number(env.SLIPWAY_EVALUATOR_CONCURRENCY) || undefined,
    port: Number(env.SLIPWAY_EVALUATOR_PORT ?? 9465),
    host: env.SLIPWAY_EVALUATOR_HOST,
  });
  const stop = async () => {
    await evaluator.stop();
    await db.end();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop());
  log.info({ url: evaluator.url }, 'evaluator started');
} catch (error) {
  log.fatal(error instanceof SlipwayError ? error.toJSON() : { err: error }, 'the evaluator cannot start');
  process.exitCode = 1;
}

function missing(field: string, remedy: string): SlipwayError {
  return new SlipwayError('INPUT_INVALID', `${field} is not set`, { field, remedy });
}
