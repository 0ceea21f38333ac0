import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { CoreV1Api, type V1Pod } from '@kubernetes/client-node';
import { KubernetesEndpoints } from '../../adapters/endpoints/kubernetes.ts';
import { processesWithEnvironment } from '../../adapters/serving/local/processes.ts';
import { readEngine } from '../../adapters/vllm/engine.ts';
import { selectorOf } from '../../domain/kubernetes/objects.ts';
import { defaultScaling } from '../../domain/policy/policy.ts';
import type { WantedServing } from '../../domain/serving/serving.ts';
import type { Gateway } from '../../gateway/gateway.ts';
import { whyNoNodes } from '../../simulator/nodes/addresses.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { publishEndpoints } from '../../store/routes.ts';
import { grantedGatewayUser } from '../adapters/endpoints/granted.ts';
import { type Bench, followed, startBench } from '../adapters/serving/kubernetes-support.ts';
import { silentLog } from '../support/log.ts';
import { exampleModel, exampleRuntime } from '../support/servings.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';
import { setRoute, startTestGateway, storeRevision, temporaryState, tenantKey, until } from './support.ts';

const REPLICAS = 3;
/** Longer than any answer here takes. */
const DRAIN_MS = 8_000;
const USERS = { whole: 9, streamed: 3 };

/** What a client saw of one request. */
interface Seen {
  id: string;
  streamed: boolean;
  /** Events of a stream that the client got. */
  events: number;
  /** null: the answer in full. */
  failure: string | null;
}

describe('pods that end under load', { skip: (await whyNoNodes()) ?? false }, () => {
  let bench: Bench;
  let core: CoreV1Api;
  let namespace: string;
  let serving: WantedServing;
  let postgres: TestPostgres;
  let db: Database;
  let gateway: Gateway;
  let key: string;
  let published: string[];
  const state = temporaryState();

  before(async () => {
    bench = await startBench([{ name: 'gpu-1', gpuProduct: 'A100-80GB', gpus: 6 }], {
      environment: { SIMULATOR_SPEED: '1' },
    });
    core = bench.kubernetes.admin.makeApiClient(CoreV1Api);
    namespace = await bench.kubernetes.createNamespace();
    postgres = await startPostgres();
    db = openDatabase(postgres.url);
    const runtime = exampleRuntime(REPLICAS);
    const revision = await storeRevision(db, {
      name: 'support',
      endpoints: [],
      model: exampleModel,
      runtime,
    });
    serving = {
      digest: revision.serving,
      model: exampleModel,
      runtime,
      dedicatedTo: 'support',
      replicas: REPLICAS,
      scaling: defaultScaling,
      origin: null,
    };
    const adapter = await bench.adapter(namespace, { drain: DRAIN_MS });
    await adapter.apply(serving);
    published = (await followed(adapter, serving.digest, 'ready')).endpoints;
    assert.equal(published.length, REPLICAS);
    // Published once and never again: which pods there are later, the gateway hears from the cluster alone.
    await publishEndpoints(db, serving.digest, published);
    await setRoute(db, { application: 'support', stable: revision.digest });
    key = await tenantKey(db, 'shop');
    const kubeConfig = await grantedGatewayUser(bench.kubernetes, namespace);
    const cluster = new KubernetesEndpoints({ kubeConfig, namespace, logger: silentLog });
    gateway = await startTestGateway({ databaseUrl: postgres.url, stateFolder: state.path, cluster });
    assert.deepEqual(cluster.endpointsOf(serving.digest), published);
  });

  after(async () => {
    await gateway?.stop();
    await db?.end();
    await postgres?.stop();
    await bench?.stop();
    state.remove();
  });

  async function pods(): Promise<V1Pod[]> {
    return (await core.listNamespacedPod({ namespace, labelSelector: selectorOf(serving.digest) })).items;
  }

  const nameOf = (pod: V1Pod): string => pod.metadata?.name ?? '';
  const urlOf = (pod: V1Pod): string => `http://${pod.status?.podIP}:8000`;

  async function ask(streamed: boolean, user: string): Promise<Seen> {
    const response = await fetch(`${gateway.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
      body: JSON.stringify({
        model: 'support',
        messages: [{ role: 'user', content: 'Where is my parcel?' }],
        user,
        stream: streamed,
      }),
    });
    const seen: Seen = {
      id: response.headers.get('x-request-id') ?? '',
      streamed,
      events: 0,
      failure: null,
    };
    let text = '';
    const decoder = new TextDecoder();
    try {
      for await (const part of response.body ?? [])
        text += decoder.decode(part as Uint8Array, { stream: true });
      if (response.status !== 200) seen.failure = `${response.status} ${text}`;
      else if (streamed && !text.endsWith('data: [DONE]\n\n')) seen.failure = 'no end';
    } catch (error) {
      seen.failure = String(error);
    }
    seen.events = text.match(/^data: \{"id"/gm)?.length ?? 0;
    return seen;
  }

  /** Users who ask again and again while something happens. */
  async function underLoad(happens: (seen: readonly Seen[]) => Promise<void>): Promise<Seen[]> {
    const seen: Seen[] = [];
    const ended = new AbortController();
    const user = async (name: string, streamed: boolean): Promise<void> => {
      while (!ended.signal.aborted) seen.push(await ask(streamed, name));
    };
    const users = [
      ...Array.from({ length: USERS.whole }, (_, i) => user(`whole-${i}`, false)),
      ...Array.from({ length: USERS.streamed }, (_, i) => user(`streamed-${i}`, true)),
    ];
    try {
      await until(
        () => seen.length,
        (count) => count >= 24,
        'the first answers',
      );
      await happens(seen);
    } finally {
      ended.abort();
      await Promise.all(users);
    }
    return seen;
  }

  interface Row {
    id: string;
    endpoint: string;
    status: number;
    failed: boolean;
    interrupted: boolean;
    reason: string | null;
  }

  /** The records of what the clients saw: one each (invariant 10). */
  async function recordsOf(seen: readonly Seen[]): Promise<Map<string, Row>> {
    const ids = seen.map(({ id }) => id);
    const rows = await until(
      async () => (await db.query<Row>('select * from samples where id = any($1)', [ids])).rows,
      (found) => found.length >= ids.length,
      'a record of each request',
    );
    assert.equal(rows.length, ids.length);
    return new Map(rows.map((row) => [row.id, row]));
  }

  /** Answers to requests that came in after a moment. */
  const servedBy = async (endpoint: string, since: Date): Promise<number> => {
    const { rows } = await db.query<{ n: number }>(
      'select count(*)::int as n from samples where endpoint = $1 and at > $2 and not failed',
      [endpoint, since],
    );
    return rows[0]?.n ?? 0;
  };

  const restarts = (pod: V1Pod | undefined): number => pod?.status?.containerStatuses?.[0]?.restartCount ?? 0;

  async function retries(): Promise<number> {
    const text = await (await fetch(gateway.metricsUrl)).text();
    return [...text.matchAll(/^llm_upstream_retries_total\{.*\} (\d+)$/gm)].reduce(
      (sum, [, n]) => sum + Number(n),
      0,
    );
  }

  it('by being deleted fail no request, and their successors get requests without a word of the control plane', async () => {
    const victim = (await pods())[0] ?? assert.fail('no pod');
    const before = await retries();
    const seen = await underLoad(async () => {
      await core.deleteNamespacedPod({ namespace, name: nameOf(victim) });
      const successor = await until(
        async () =>
          (await pods()).find((pod) => pod.status?.podIP && !published.includes(urlOf(pod))) ?? null,
        (pod) => pod !== null,
        'a successor',
      );
      await until(
        () => servedBy(urlOf(successor ?? victim), new Date(0)),
        (count) => count > 0,
        'an answer of the successor',
      );
      await until(
        async () => (await pods()).some((pod) => nameOf(pod) === nameOf(victim)),
        (there) => !there,
        'the end of the deleted pod',
      );
    });
    assert.deepEqual(
      seen.filter(({ failure }) => failure !== null),
      [],
    );
    const records = await recordsOf(seen);
    assert.ok([...records.values()].some(({ endpoint }) => endpoint === urlOf(victim)));
    for (const record of records.values()) {
      assert.deepEqual([record.status, record.failed, record.interrupted], [200, false, false]);
    }
    // Not even one that had to be asked again: what the pod held it has answered, and nothing more was sent there.
    assert.equal(await retries(), before);
  });

  it('by a SIGKILL fail no request but streams that had begun, which are marked as interrupted', async () => {
    const victim =
      (await pods()).find((pod) => pod.metadata?.deletionTimestamp === undefined) ?? assert.fail('no pod');
    const before = await retries();
    const seen = await underLoad(async () => {
      const killed = await processesWithEnvironment('HOSTNAME', nameOf(victim));
      assert.ok(killed.length > 0);
      // More than all streams: at least one whole request is lost with it.
      await until(
        async () => (await readEngine(urlOf(victim)))?.inFlight ?? 0,
        (count) => count > USERS.streamed,
        'requests at the replica',
      );
      const group = killed[0]?.group ?? assert.fail('no process');
      process.kill(-group, 'SIGKILL');
      await until(
        async () => (await pods()).find((pod) => nameOf(pod) === nameOf(victim)),
        (pod) => restarts(pod) > restarts(victim),
        'the restart of the container',
      );
      const restarted = new Date();
      await until(
        () => servedBy(urlOf(victim), restarted),
        (count) => count > 0,
        'an answer of the replica after its restart',
      );
    });
    const records = await recordsOf(seen);
    for (const { id, streamed, events, failure } of seen) {
      const record = records.get(id) ?? assert.fail(`no record of ${id}`);
      if (failure === null) {
        assert.deepEqual([record.status, record.failed, record.interrupted], [200, false, false]);
        continue;
      }
      assert.ok(streamed && events > 0, `a request that could be asked again failed: ${failure}`);
      assert.deepEqual(
        [record.endpoint, record.failed, record.interrupted, record.reason],
        [urlOf(victim), true, true, 'upstream_cut'],
      );
    }
    assert.ok((await retries()) > before);
  });
});
