import pino from 'pino';
import { z } from 'zod';
import type { EndpointSource } from '../adapters/endpoints/endpoints.ts';
import { KubernetesEndpoints } from '../adapters/endpoints/kubernetes.ts';
import { loadClusterSettings } from '../adapters/kubernetes/cluster-file.ts';
import { loadKubeConfig } from '../adapters/kubernetes/config.ts';
import { SlipwayError } from '../domain/errors.ts';
import { defaultClusterSettings } from '../domain/kubernetes/settings.ts';
import { type Gateway, startGateway } from './gateway.ts';

const environment = z.object({
  SLIPWAY_GATEWAY_PORT: z.coerce.number().int().min(0).max(65_535).default(8080),
  SLIPWAY_GATEWAY_HOST: z.string().default('127.0.0.1'),
  SLIPWAY_GATEWAY_METRICS_ADDRESS: z
    .string()
    .regex(/^.+:\d{1,5}$/, 'must be HOST:PORT')
    .default('127.0.0.1:9466')
    .transform((address) => {
      const colon = address.lastIndexOf(':');
      return {
        host: address.slice(0, colon).replace(/^\[|\]$/g, ''),
        port: Number(address.slice(colon + 1)),
      };
    }),
  DATABASE_URL: z.string().min(1),
  SLIPWAY_STATE_DIR: z.string().min(1),
  SLIPWAY_USER_HASH_KEY: z.string().min(16, 'must have at least 16 characters'),
  SLIPWAY_SPOOL_BYTES: z.coerce.number().int().positive().optional(),
  // A key from a file often ends with a line break; an empty one is none.
  SLIPWAY_VLLM_API_KEY: z
    .string()
    .transform((key) => key.trim() || undefined)
    .optional(),
  SLIPWAY_SERVING: z.enum(['local', 'kubernetes']).default('local'),
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

/** In a cluster the gateway follows the replicas there by itself. */
async function clusterOf(): Promise<EndpointSource | undefined> {
  if (env.SLIPWAY_SERVING === 'local') return undefined;
  const { namespace } = (await loadClusterSettings(process.env)) ?? defaultClusterSettings;
  return new KubernetesEndpoints({ kubeConfig: loadKubeConfig(process.env), namespace, logger });
}

async function start(): Promise<Gateway> {
  return startGateway({
    databaseUrl: env.DATABASE_URL,
    stateFolder: env.SLIPWAY_STATE_DIR,
    userSecret: env.SLIPWAY_USER_HASH_KEY,
    port: env.SLIPWAY_GATEWAY_PORT,
    host: env.SLIPWAY_GATEWAY_HOST,
    metrics: env.SLIPWAY_GATEWAY_METRICS_ADDRESS,
    spoolBytes: env.SLIPWAY_SPOOL_BYTES,
    cluster: await clusterOf(),
    vllmApiKey: env.SLIPWAY_VLLM_API_KEY,
    logger,
  });
}

const gateway = await start().catch((error: unknown) => {
  const remedy = error instanceof SlipwayError ? error.details.remedy : undefined;
  logger.fatal(
    { error: error instanceof Error ? error.message : 'unknown', remedy },
    'the gateway cannot start',
  );
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
