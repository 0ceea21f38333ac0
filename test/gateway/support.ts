import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import pino from 'pino';
import { type PromptContent, promptDigest } from '../../domain/prompt/prompt.ts';
import { makeRevision, type Revision } from '../../domain/revision.ts';
import type { ModelSpec, RuntimeSpec } from '../../domain/serving/serving.ts';
import { type Gateway, type GatewayOptions, startGateway } from '../../gateway/gateway.ts';
import type { Database } from '../../store/database.ts';
import { newKey, saveTenantKey } from '../../store/keys.ts';
import { findRoute, moveTraffic, type NewRoute, publishEndpoints } from '../../store/routes.ts';
import { PATIENCE_MS } from '../support/patience.ts';

export const plainPrompt: PromptContent = {
  system: 'You help.',
  template: '{{input}}',
  variables: [],
  examples: [],
  parameters: { temperature: 0, max_tokens: 50 },
  outputSchema: null,
};

/** Keeps what a revision needs in the control plane's tables, and says where its serving answers. */
export async function storeRevision(
  db: Database,
  given: {
    name: string;
    prompt?: Partial<PromptContent>;
    endpoints: string[];
    model?: ModelSpec;
    runtime?: RuntimeSpec;
  },
): Promise<Revision> {
  const content = { ...plainPrompt, ...given.prompt };
  const prompt = { name: given.name, version: 1, digest: promptDigest(content) };
  const revision = makeRevision({
    prompt,
    model: given.model ?? {
      name: 'engine-model',
      architecture: { layers: 1, kvHeads: 1, headDim: 1, kvBytes: 2, weightsGiB: 1 },
      price: { inputPerMillion: 1, outputPerMillion: 2 },
    },
    runtime: given.runtime ?? {
      flags: {},
      gpu: { kind: 'none', memoryGiB: 1, count: 1 },
      concurrency: 1,
      replicas: 1,
    },
    guardrails: { name: 'none', version: 1, digest: 'sha256:0' },
    dedicatedTo: given.name,
  });
  await db.query(
    `insert into prompt_versions (name, version, digest, content, created_by) values ($1, 1, $2, $3, 'test')`,
    [prompt.name, prompt.digest, JSON.stringify(content)],
  );
  await db.query('insert into revisions (digest, content) values ($1, $2)', [
    revision.digest,
    JSON.stringify(revision),
  ]);
  await db.query('insert into servings (digest, model, runtime, dedicated_to) values ($1, $2, $3, $4)', [
    revision.serving,
    JSON.stringify(revision.model),
    JSON.stringify(revision.runtime),
    given.name,
  ]);
  await publishEndpoints(db, revision.serving, given.endpoints);
  return revision;
}

/** Moves an application's traffic, whatever stood before. @returns the new generation */
export async function setRoute(
  db: Database,
  route: Pick<NewRoute, 'application' | 'stable'> & Partial<NewRoute>,
): Promise<number> {
  await db.query('insert into applications (name) values ($1) on conflict do nothing', [route.application]);
  const standing = await findRoute(db, route.application);
  return moveTraffic(
    db,
    {
      release: null,
      weight: 0,
      phase: 0,
      canary: null,
      scoredShare: 0,
      stratumMs: 86_400_000,
      canarySince: null,
      ...route,
    },
    standing?.generation ?? null,
  );
}

export async function tenantKey(db: Database, tenant: string): Promise<string> {
  const key = newKey();
  await saveTenantKey(db, key, tenant);
  return key;
}

export function temporaryState(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'slipway-gateway-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export const userSecret = 'a secret of the tests';

export type TestGatewayOptions = Pick<GatewayOptions, 'databaseUrl' | 'stateFolder'> &
  Partial<GatewayOptions>;

/** Starts a gateway as it starts in an outage too: it may route by an older table, or by none, when it serves. */
export function startGatewayAnyhow(options: TestGatewayOptions): Promise<Gateway> {
  return startGateway({ userSecret, logger: pino({ level: 'silent' }), ...options });
}

/** Starts a gateway that routes by the table of now. */
export async function startTestGateway(options: TestGatewayOptions): Promise<Gateway> {
  const gateway = await startGatewayAnyhow(options);
  await until(
    () => stateOf(gateway),
    ({ stableOnly }) => !stableOnly,
    'the route table is followed',
  );
  return gateway;
}

export const stateOf = async ({ url }: Gateway) =>
  (await (await fetch(`${url}/readyz`)).json()) as { generation: number; stableOnly: boolean };

/** Polls until the condition holds. @throws with the last value seen */
export async function until<T>(
  read: () => Promise<T> | T,
  holds: (value: T) => boolean,
  what: string,
): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await read();
    if (holds(value)) return value;
    if (Date.now() > deadline) throw new Error(`${what}: still ${JSON.stringify(value)}`);
    await sleep(20);
  }
}
