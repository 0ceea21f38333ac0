import { join } from 'node:path';
import { Client, type Connection } from '@temporalio/client';
import { connectTemporal } from '../../adapters/temporal/connection.ts';
import { ApiClient } from '../../cli/client.ts';
import { waitUntil } from '../../deploy/local/probe.ts';
import { type ManagedProcess, Supervisor } from '../../deploy/local/processes.ts';
import { type Slipway, simulatorEnv, startSlipway } from '../../deploy/local/slipway.ts';
import { type Stack, startStack } from '../../deploy/local/stack.ts';
import { loadQuestions, Traffic } from '../../examples/support-answers/traffic.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { PATIENCE_MS } from '../support/patience.ts';
import { temporaryFolder } from '../support/stack.ts';
import { firstRelease, goldenSet, guardrails, prompt } from './documents.ts';
import { adaSigns, Running } from './dsl.ts';
import { noteMoves } from './moves.ts';

export const APPLICATION = 'support-answers';

/** Enough users for the gate within a horizon of 12 s, at weight .5; light enough for two shared cores. */
const CROWD = { customers: 1000, rate: 30, concurrency: 48, feedbackShare: 0, anonymousShare: 0.01, seed: 7 };

export interface World {
  supervisor: Supervisor;
  stack: Stack;
  slipway: Slipway;
  db: Database;
  temporal: Client;
  /** erin, who asks for releases. */
  engineer: ApiClient;
  /** ada, who signs. */
  approver: ApiClient;
  stop(): Promise<void>;
}

export async function until<T>(what: string, probe: () => Promise<T> | T): Promise<NonNullable<T>> {
  return waitUntil(what, probe, { timeoutMs: PATIENCE_MS, everyMs: 50 });
}

/**
 * The whole stack on a state folder of its own, with the application's first revision installed and its customers asking.
 * `kubernetes`: servings are pods on simulated nodes of a real control plane, of this world's own.
 */
export async function startWorld({ kubernetes = false } = {}): Promise<World> {
  const folder = temporaryFolder();
  const supervisor = new Supervisor();
  supervisor.stopOnSignals();
  const undo: (() => Promise<void> | void)[] = [folder.remove, () => supervisor.stopAll()];
  const stop = async (): Promise<void> => {
    for (const step of undo.toReversed()) await step();
  };
  try {
    const say = () => undefined;
    // Without what this environment may say of other parts.
    const env = { PATH: process.env.PATH };
    const stack = await startStack({
      supervisor,
      state: folder.path,
      ports: 'free',
      say,
      env,
      ...(kubernetes ? { kubernetes: { simulator: simulatorEnv } } : {}),
    });
    const slipway = await startSlipway(supervisor, stack, say);
    const db = openDatabase(stack.databaseUrl, { max: 4, applicationName: 'slipway-e2e' });
    undo.push(() => db.end());
    const connection: Connection = await connectTemporal(stack.env);
    undo.push(() => connection.close());
    await noteMoves(db);
    const world: World = {
      supervisor,
      stack,
      slipway,
      db,
      temporal: new Client({ connection, namespace: stack.topology.namespace.name }),
      engineer: new ApiClient(slipway.apiUrl, slipway.keys.engineer),
      approver: new ApiClient(slipway.apiUrl, slipway.keys.approver),
      stop,
    };
    await install(world);
    const traffic = new Traffic(
      {
        ...CROWD,
        model: APPLICATION,
        baseURL: `${slipway.gatewayUrl}/v1`,
        apiKey: slipway.keys.tenant,
      },
      loadQuestions(),
    );
    traffic.start();
    undo.push(() => traffic.stop());
    await until('the first customers are answered', () => traffic.counts().answered > 50);
    return world;
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The first release has no canary; ada signs its evaluation. */
async function install(world: World): Promise<void> {
  const { engineer } = world;
  await engineer.call('POST', '/v1/guardrails', guardrails());
  await engineer.call('POST', '/v1/golden-sets', goldenSet());
  await engineer.call('POST', '/v1/prompts', prompt('first'));
  const { release } = await engineer.call<{ release: string }>('POST', '/v1/releases', firstRelease());
  const first = new Running(world, release, { moves: 0, processes: [] });
  await adaSigns(first);
  const { stage, reason } = await first.ended();
  if (stage !== 'done') throw new Error(`the first release ended ${stage}: ${reason}`);
}

/** Another process like one that runs, beside it. */
export async function startAnother(
  world: World,
  like: ManagedProcess,
  { name, url, env }: { name: string; url: string; env: Record<string, string> },
): Promise<ManagedProcess> {
  const { spec } = like;
  return world.supervisor.start({
    ...spec,
    name,
    env: { ...spec.env, ...env },
    logFile: join(world.stack.state, 'logs', `${name}.log`),
    ready: async () => (await fetch(`${url}/healthz`)).ok,
  });
}
