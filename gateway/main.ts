import pino from 'pino';
import { z } from 'zod';
import { startGateway } from './gateway.ts';

const environment = z.object({
  SLIPWAY_GATEWAY_PORT: z.coerce.number().int().min(0).max(65_535).default(8080),
  SLIPWAY_GATEWAY_HOST: z.string().default('127.0.0.1'),
  DATABASE_URL: z.string().min(1),
  SLIPWAY_STATE_DIR: z.string().min(1),
  SLIPWAY_USER_HASH_KEY: z.string().min(16, 'must have at least 16 characters'),
  SLIPWAY_SPOOL_BYTES: z.coerce.number().int().positive().optional(),
  SLIPWAY_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

const parsed = environment.safeParse(process.env);
if (!parsed.success) {
  for (const issue of parsed.error.issues) console.error(`${issue.path.join('.')}: ${issue.message}`);
  console.error('Set the environment variables above and start the gateway again.');
  process.exit(2);
}
const env = parsed.data;
const logger = pino({ name: 'gateway', level: env.SLIPWAY_LOG_LEVEL });

const gateway = await startGateway({
  databaseUrl: env.DATABASE_URL,
  stateFolder: env.SLIPWAY_STATE_DIR,
  userSecret: env.SLIPWAY_USER_HASH_KEY,
  port: env.SLIPWAY_GATEWAY_PORT,
  host: env.SLIPWAY_GATEWAY_HOST,
  spoolBytes: env.SLIPWAY_SPOOL_BYTES,
  logger,
}).catch((error: unknown) => {
  logger.fatal({ error: error instanceof Error ? error.message : 'unknown' }, 'the gateway cannot start');
  process.exit(1);
});

let stopping = false;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (stopping) return;
    stopping = true;
    logger.info({ signal }, 'draining');
    gateway.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  });
}
