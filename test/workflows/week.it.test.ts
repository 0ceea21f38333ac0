import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import proto from '@temporalio/proto';
import { NativeConnection } from '@temporalio/worker';
import { now } from '../../activities/watch.ts';
import { createPrometheus } from '../../adapters/prometheus/prometheus.ts';
import type { ServingAdapter } from '../../adapters/serving/adapter.ts';
import { defaultPolicy } from '../../domain/policy/policy.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { listLooks, listVerdicts } from '../../store/evidence.ts';
import { verifyEvidence } from '../../store/gate-verification.ts';
import { pushPrompt } from '../../store/prompts.ts';
import { saveSpec } from '../../store/releases.ts';
import { getRevision } from '../../store/revisions.ts';
import { findRoute, publishEndpoints } from '../../store/routes.ts';
import { createActivities } from '../../workers/activities.ts';
import { bundleWorkflows, createWorker, installRuntime } from '../../workers/worker.ts';
import { queries, type ReleaseOutcome, type ReleaseStatus, updates } from '../../workflows/messages.ts';
import { canaryTraffic, record } from '../support/canary.ts';
import { silentLog } from '../support/log.ts';
import { type ModelEndpoint, startModelEndpoint } from '../support/model-endpoint.ts';
import { alwaysReady, releasesOn } from '../support/releases.ts';
import { startScraped } from '../support/scraped.ts';
import {
  startPostgres,
  startPrometheus,
  startTemporal,
  type TestPostgres,
  type TestPrometheus,
  type TestTemporal,
} from '../support/stack.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const application = 'weekly';

/**
 * The default policy, but for looks every hour instead of every five minutes: each look costs the server that skips time a fifth of a second.
 */
const policy = { ...defaultPolicy, gate: { ...defaultPolicy.gate, lookEvery: HOUR } };

/** Nothing is provisioned: the release changes the prompt only, and the preflight sees that its serving runs. */
const untouched = (db: Database): ServingAdapter => ({
  ...alwaysReady(db),
  apply: () => assert.fail('applied a serving'),
  remove: () => assert.fail('removed a serving'),
  changed: () => assert.fail('watched a serving'),
});

describe('a week under the default policy, on a server that skips time', () => {
  let postgres: TestPostgres;
  let temporal: TestTemporal;
  let prometheus: TestPrometheus;
  let scraped: Awaited<ReturnType<typeof startScraped>>;
  let model: ModelEndpoint;
  let db: Database;
  let connection: NativeConnection;

  before(async () => {
    installRuntime(silentLog);
    [postgres, temporal, scraped, model] = await Promise.all([
      startPostgres(),
      startTemporal(),
      startScraped(),
      startModelEndpoint(() => '1 + 1 is 2'),
    ]);
    prometheus = await startPrometheus([{ targets: [scraped.target], labels: { job: 'gateway' } }]);
    db = openDatabase(postgres.url);
    connection = await NativeConnection.connect({ address: temporal.address });
  });
  after(async () => {
    await connection?.close();
    await db?.end();
    await Promise.all([prometheus, scraped, model, temporal, postgres].map((part) => part?.stop()));
  });

  it('promotes at the horizon of seven days and not an hour before, in under 150 events', async () => {
    const stable = await releasesOn(db).established({ application });
    await publishEndpoints(db, stable.candidateServing, [model.url]);
    const prompt = await pushPrompt(db, {
      name: application,
      content: {
        system: 'Be brief.',
        template: '{{input}}',
        variables: [],
        examples: [],
        parameters: {},
        outputSchema: null,
      },
      createdBy: 'ana',
    });
    const evaluation = { ...policy.evaluation, goldenSet: `${application}@1` };
    const spec = await saveSpec(db, {
      application,
      prompt: `${application}@${prompt.version}`,
      policy: { ...policy, evaluation },
    });

    const measured = createPrometheus({ url: prometheus.url });
    const real = createActivities(
      { db, serving: untouched(db), prometheus: measured, judge: null },
      silentLog,
    );
    const client = new Client({ connection: temporal.connection, namespace: temporal.namespace });
    const handle = client.workflow.getHandle<() => Promise<ReleaseOutcome>>('release:week');
    let since = 0;
    let weightBeforeTheHorizon: number | undefined;
    let judgedAt = 0;
    let samples: ReturnType<typeof canaryTraffic> = [];

    /** Users go on asking: what the gateways and the evaluator would have recorded up to then. */
    const passTo = async (at: number): Promise<void> => {
      await record(
        db,
        samples.filter((row) => row.record.at <= at),
      );
      samples = samples.filter((row) => row.record.at > at);
    };
    const worker = await createWorker({
      connection,
      topology: temporal.topology,
      bundle: await bundleWorkflows(),
      activities: {
        ...real,
        async moveTraffic(step) {
          await real.moveTraffic(step);
          if (step.move.canarySince === null || since !== 0) return;
          since = step.move.canarySince;
          samples = canaryTraffic({
            application,
            release: 'week',
            from: since,
            lasting: 7 * DAY + HOUR,
            stratum: policy.gate.stratum,
            users: { stable: 8_100, canary: 900 },
            samplesPerUser: 2,
            errors: { stable: 0, canary: 0 },
          }).sort((a, b) => a.record.at - b.record.at);
          revisions.canary = (await findRoute(db, application))?.canary ?? '';
          // While an activity runs, no time is skipped: the week begins when Prometheus has seen both arms.
          for (const arm of ['stable', 'canary']) {
            const query = `sum(increase(llm_requests_total{arm="${arm}"}[5m])) > 50`;
            do serveAll();
            while ((await measured.query(query)).kind !== 'value' && (await delay(200, true)));
          }
        },
        async watchGuards(step) {
          await passTo(now());
          serveAll();
          const elapsed = now() - since;
          if (elapsed >= 7 * DAY - HOUR && elapsed < 7 * DAY) {
            weightBeforeTheHorizon = (await findRoute(db, application))?.weight;
          }
          return real.watchGuards(step);
        },
        async judgeCanary(step) {
          await passTo(now());
          const verdict = await real.judgeCanary(step);
          judgedAt = now();
          return verdict;
        },
      },
    });

    /** What Prometheus scrapes: both arms well, at any virtual time, because the guards' queries carry no time. */
    const revisions = { stable: stable.candidate, canary: '' };
    function serveAll(): void {
      for (const arm of ['stable', 'canary'] as const) {
        for (let n = 0; n < 60; n += 1) {
          scraped.serve(
            { application, arm, revision: revisions[arm].replace('sha256:', '').slice(0, 12) },
            { seconds: 0.4, dollars: 0.001, ttftSeconds: 0.1, fails: false, violates: false },
          );
        }
      }
    }

    await worker.runUntil(async () => {
      await client.workflowService.startWorkflowExecution(
        proto.temporal.api.workflowservice.v1.StartWorkflowExecutionRequest.create({
          namespace: temporal.namespace,
          workflowId: handle.workflowId,
          requestId: 'the only start',
          workflowType: { name: 'release' },
          taskQueue: { name: temporal.taskQueue },
          input: {
            payloads: [
              defaultPayloadConverter.toPayload({
                application,
                prompt: `${application}@${prompt.version}`,
                requester: 'ana',
                spec,
              }),
            ],
          },
          timeSkippingConfig: { enabled: true, maxSessionSkipCount: 10_000 },
        }),
      );
      const signOff = await stageOf(handle, 'sign-off');
      await handle.executeUpdate(updates.approve, {
        args: [{ by: 'ben', revision: signOff.candidate ?? '', evidence: signOff.evidence ?? '' }],
      });
      const outcome = await handle.result();
      assert.equal(outcome.outcome, 'promoted', outcome.reason);
    });

    assert.equal(weightBeforeTheHorizon, 0.1, 'at 6 days 23 hours the canary is where it was');
    assert.ok(judgedAt - since >= 7 * DAY, `judged after ${(judgedAt - since) / DAY} days`);
    const [verdict] = await listVerdicts(db, 'week');
    assert.ok(verdict);
    const verified = await verifyEvidence(db, 'week', 5);
    assert.ok(verified.verdicts.length > 0);
    assert.deepEqual(verified.looks.guards.recomputed, verified.looks.guards.kept);
    assert.equal(verified.looks.gate.recomputed, 5);
    assert.equal(verified.stop, null);
    assert.ok(
      (await listLooks(db, 'week', { limit: 1000 })).looks.length > 150,
      'every look of the week is kept',
    );
    assert.equal((await findRoute(db, application))?.stable, revisions.canary);
    assert.equal((await getRevision(db, revisions.canary)).prompt, `${application}@${prompt.version}`);

    const { events = [] } = await handle.fetchHistory();
    const { EVENT_TYPE_WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED: skipping } =
      proto.temporal.api.enums.v1.EventType;
    const own = (events ?? []).filter((event) => event.eventType !== skipping);
    const bytes = own.reduce(
      (sum, event) => sum + proto.temporal.api.history.v1.HistoryEvent.encode(event).finish().length,
      0,
    );
    assert.ok(own.length < 150, `${own.length} events`);
    assert.ok(bytes < 200_000, `${bytes} bytes`);
  });

  async function stageOf(
    handle: ReturnType<Client['workflow']['getHandle']>,
    stage: string,
  ): Promise<ReleaseStatus> {
    for (;;) {
      const seen = await handle.query(queries.status).catch(() => null);
      if (seen !== null) {
        if (seen.stage === stage) return seen;
        assert.notEqual(seen.stage, 'rolled-back', seen.reason ?? '');
      }
      await delay(100);
    }
  }
});
