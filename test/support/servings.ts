import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { ServingObservation } from '../../adapters/serving/adapter.ts';
import { stopAll } from '../../adapters/serving/local/local.ts';
import { defaultScaling } from '../../domain/policy/policy.ts';
import {
  type FlagValue,
  type ModelSpec,
  type RuntimeSpec,
  servingDigest,
  type WantedServing,
} from '../../domain/serving/serving.ts';
import { PATIENCE_MS } from './patience.ts';

export const standIn = [process.execPath, fileURLToPath(new URL('vllm-stand-in.ts', import.meta.url))];

export const exampleModel: ModelSpec = {
  name: 'meta-llama/Llama-3.1-8B-Instruct',
  architecture: { layers: 32, kvHeads: 8, headDim: 128, kvBytes: 2, weightsGiB: 15 },
  price: { inputPerMillion: 0.1, outputPerMillion: 0.2 },
};

export function exampleRuntime(replicas = 1, flags: Record<string, FlagValue> = {}): RuntimeSpec {
  return {
    flags: { 'max-model-len': 8192, ...flags },
    gpu: { kind: 'A100-80GB', memoryGiB: 80, count: 1 },
    concurrency: 4,
    replicas,
  };
}

export function exampleServing(replicas = 1, flags: Record<string, FlagValue> = {}): WantedServing {
  const runtime = exampleRuntime(replicas, flags);
  return {
    digest: servingDigest(exampleModel, runtime),
    model: exampleModel,
    runtime,
    dedicatedTo: null,
    replicas,
    scaling: defaultScaling,
    origin: null,
  };
}

/** A state folder whose stand-ins register themselves, to be ended and deleted at the end of the test. */
export function servingSandbox() {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-servings-'));
  const register = join(folder, 'register');
  process.env.STAND_IN_REGISTER = register;
  const registered = (): number[] => {
    try {
      return readdirSync(register).map(Number);
    } catch {
      return [];
    }
  };
  return {
    stateDir: join(folder, 'state'),
    /** Every stand-in that ever started and lives. */
    living: (): number[] => registered().filter(isRunning),
    startedEver: (): number => registered().length,
    /** How a stand-in was started. */
    startOf: (pid: number): { argv: string[]; env: Record<string, string> } =>
      JSON.parse(readFileSync(join(register, String(pid)), 'utf8')),
    cleanUp: async (): Promise<void> => {
      await stopAll(join(folder, 'state'));
      for (const pid of registered().filter(isRunning)) process.kill(pid, 'SIGKILL');
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** On Linux a process that only waits for its parent to notice its end does not count. */
function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    if (process.platform !== 'linux') return true;
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !'ZX'.includes(stat.charAt(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

/** Looks again until the state is seen. */
export async function until<T>(
  what: string,
  look: () => Promise<T> | T,
  seen: (value: T) => boolean,
): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const value = await look();
    if (seen(value)) return value;
    if (performance.now() > deadline) throw new Error(`not seen: ${what}; last: ${JSON.stringify(value)}`);
    await delay(25);
  }
}

export const inState =
  (state: ServingObservation['state']) =>
  (observed: ServingObservation): boolean =>
    observed.state === state;
