import type { Logger } from 'pino';
import { SlipwayError } from '../../domain/errors.ts';
import { defaultClusterSettings } from '../../domain/kubernetes/settings.ts';
import { loadClusterSettings } from '../kubernetes/cluster-file.ts';
import { loadKubeConfig } from '../kubernetes/config.ts';
import type { ServingAdapter } from './adapter.ts';
import { parseCommand } from './command.ts';
import { createKubernetesServing } from './kubernetes/kubernetes.ts';
import { createLocalServing } from './local/local.ts';

/** What servings run on, and how often it may be looked at without being asked, in ms. */
export interface ServingPlace {
  adapter: ServingAdapter;
  keepEveryMs: number;
}

/**
 * Where servings run: SLIPWAY_SERVING says `local` (the default: processes, by SLIPWAY_VLLM_COMMAND, kept in SLIPWAY_STATE_DIR) or
 * `kubernetes` (KUBECONFIG or the pod's own account; SLIPWAY_CLUSTER_FILE).
 * @throws SlipwayError INPUT_INVALID
 */
export async function servingFromEnvironment(env: NodeJS.ProcessEnv, log: Logger): Promise<ServingPlace> {
  const place = env.SLIPWAY_SERVING || 'local';
  if (place === 'kubernetes') {
    const settings = (await loadClusterSettings(env)) ?? defaultClusterSettings;
    // A cluster's API is asked with care.
    return {
      adapter: createKubernetesServing({ kubeConfig: loadKubeConfig(env), settings, log }),
      keepEveryMs: 10_000,
    };
  }
  if (place !== 'local') {
    throw new SlipwayError('INPUT_INVALID', `${place} is no place for servings`, {
      field: 'SLIPWAY_SERVING',
      value: place,
      remedy: 'Set it to local or kubernetes',
    });
  }
  if (!env.SLIPWAY_STATE_DIR) {
    throw new SlipwayError('INPUT_INVALID', 'SLIPWAY_STATE_DIR is not set', {
      field: 'SLIPWAY_STATE_DIR',
      remedy: 'Set it to a folder in which the worker keeps what runs, or SLIPWAY_SERVING to kubernetes',
    });
  }
  const command = parseCommand(env.SLIPWAY_VLLM_COMMAND ?? 'vllm');
  return { adapter: createLocalServing({ stateDir: env.SLIPWAY_STATE_DIR, command }), keepEveryMs: 1_000 };
}
