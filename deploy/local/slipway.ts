import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ApiClient } from '../../cli/client.ts';
import { answersHttp } from './probe.ts';
import type { ManagedProcess, ProcessSpec, Supervisor } from './processes.ts';
import type { Stack } from './stack.ts';
import type { Say } from './tools/build.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Keys of the local installation, made at its first start; whoever may read the state folder may use them. */
export interface LocalKeys {
  admin: string;
  engineer: string;
  approver: string;
  tenant: string;
  /** Turns user names into the hashes that the ledger keeps. */
  userHash: string;
}

/** Slipway's own processes on a local stack. */
export interface Slipway {
  api: ManagedProcess;
  gateway: ManagedProcess;
  worker: ManagedProcess;
  evaluator: ManagedProcess;
  apiUrl: string;
  gatewayUrl: string;
  keys: LocalKeys;
}

/** What the simulated vLLM needs to answer the example's customers. */
export const simulatorEnv = { SIMULATOR_KNOWLEDGE: join(root, 'examples/support-answers/knowledge.yaml') };

/** The model that judges answers, on a vLLM of its own. */
const JUDGE_MODEL = 'meta-llama/Llama-3.1-8B-Instruct';

/** Starts API, gateway, worker, evaluator and the judge's vLLM on the stack, each ready before it returns. */
export async function startSlipway(supervisor: Supervisor, stack: Stack, say: Say): Promise<Slipway> {
  const kept = join(stack.state, 'keys.json');
  const secrets = readSecrets(kept);
  const ports = {
    api: await stack.port('api', 8080),
    gateway: await stack.port('gateway', 8090),
    judge: await stack.port('judge', 8100),
    workerMetrics: await stack.port('worker-metrics', 9464),
    evaluator: await stack.port('evaluator', 9465),
    gatewayMetrics: await stack.port('gateway-metrics', 9466),
  };
  const apiUrl = `http://127.0.0.1:${ports.api}`;
  const gatewayUrl = `http://127.0.0.1:${ports.gateway}`;
  const judgeUrl = `http://127.0.0.1:${ports.judge}`;
  const env = {
    ...stack.env,
    SLIPWAY_API_PORT: String(ports.api),
    SLIPWAY_BOOTSTRAP_ADMIN_KEY: secrets.admin,
    SLIPWAY_GATEWAY_PORT: String(ports.gateway),
    SLIPWAY_GATEWAY_METRICS_ADDRESS: `127.0.0.1:${ports.gatewayMetrics}`,
    SLIPWAY_USER_HASH_KEY: secrets.userHash,
    SLIPWAY_WORKER_METRICS_ADDRESS: `127.0.0.1:${ports.workerMetrics}`,
    SLIPWAY_EVALUATOR_PORT: String(ports.evaluator),
    ...simulatorEnv,
    SLIPWAY_JUDGE_URL: `${judgeUrl}/v1`,
    SLIPWAY_JUDGE_MODEL: JUDGE_MODEL,
    SLIPWAY_VLLM_COMMAND: JSON.stringify([process.execPath, join(root, 'simulator/main.ts')]),
  };
  const node = (name: string, program: string, rest: Partial<ProcessSpec> = {}): ProcessSpec => ({
    name,
    command: process.execPath,
    args: [join(root, program)],
    env,
    cwd: root,
    logFile: join(stack.state, 'logs', `${name}.log`),
    ...rest,
  });
  const answering = (url: string) => () => answersHttp(url);

  stack.prometheus?.setTargets([
    { targets: [`127.0.0.1:${ports.gatewayMetrics}`], labels: { job: 'gateway' } },
    { targets: [`127.0.0.1:${ports.workerMetrics}`], labels: { job: 'worker' } },
    { targets: [`127.0.0.1:${ports.evaluator}`], labels: { job: 'evaluator' } },
    { targets: [`127.0.0.1:${ports.judge}`], labels: { job: 'judge' } },
  ]);
  const [api, gateway, worker] = await Promise.all([
    supervisor.start(
      node('api', 'api/main.ts', {
        env: { ...env, ...stack.cluster?.api },
        ready: answering(`${apiUrl}/healthz`),
      }),
    ),
    supervisor.start(
      node('gateway', 'gateway/main.ts', {
        env: { ...env, ...stack.cluster?.gateway, SLIPWAY_STATE_DIR: join(stack.state, 'gateway') },
        ready: answering(`${gatewayUrl}/healthz`),
      }),
    ),
    supervisor.start(
      node('worker', 'workers/main.ts', {
        env: { ...env, ...stack.cluster?.worker },
        ready: answering(`http://127.0.0.1:${ports.workerMetrics}/metrics`),
      }),
    ),
    supervisor.start(
      node('judge', 'simulator/main.ts', {
        args: [
          join(root, 'simulator/main.ts'),
          'serve',
          JUDGE_MODEL,
          '--port',
          String(ports.judge),
          '--max-num-seqs',
          '128',
          '--stream-interval',
          '16',
        ],
        ready: answering(`${judgeUrl}/health`),
      }),
    ),
  ]);
  const evaluator = await supervisor.start(node('evaluator', 'evaluator/main.ts'));
  say(`API is up at ${apiUrl}, gateway at ${gatewayUrl}/v1, with a worker and an online evaluator`);
  const keys = await ensureKeys(kept, secrets, new ApiClient(apiUrl, secrets.admin));
  return { api, gateway, worker, evaluator, apiUrl, gatewayUrl, keys };
}

type Secrets = Pick<LocalKeys, 'admin' | 'userHash'> & Partial<LocalKeys>;

function readSecrets(file: string): Secrets {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as LocalKeys;
  } catch {
    const secret = () => randomBytes(24).toString('base64url');
    return { admin: `slipway-${secret()}`, userHash: secret() };
  }
}

/** The first start makes a key for each role that the example needs; later ones find them. */
async function ensureKeys(file: string, secrets: Secrets, api: ApiClient): Promise<LocalKeys> {
  const make = async (body: Record<string, string>) =>
    (await api.call<{ key: string }>('POST', '/v1/keys', body)).key;
  const keys: LocalKeys = {
    admin: secrets.admin,
    userHash: secrets.userHash,
    engineer: secrets.engineer ?? (await make({ kind: 'control', name: 'erin', role: 'engineer' })),
    approver: secrets.approver ?? (await make({ kind: 'control', name: 'ada', role: 'approver' })),
    tenant: secrets.tenant ?? (await make({ kind: 'tenant', tenant: 'webshop' })),
  };
  writeFileSync(file, `${JSON.stringify(keys, null, 2)}\n`, { mode: 0o600 });
  return keys;
}
