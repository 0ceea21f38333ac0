import { Context } from '@temporalio/activity';
import { Client, type WorkflowHandle } from '@temporalio/client';
import { NativeConnection } from '@temporalio/worker';
import type { Move, ReleaseActivities } from '../../activities/contract.ts';
import { notYet } from '../../activities/watch.ts';
import { createLocalServing } from '../../adapters/serving/local/local.ts';
import { defaultPolicy, type Policy } from '../../domain/policy/policy.ts';
import type { ReleasePlan } from '../../domain/release/spec.ts';
import type { FlagValue } from '../../domain/serving/serving.ts';
import type { Stage } from '../../domain/words.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { getRelease, type ReleaseRow } from '../../store/releases.ts';
import { createActivities } from '../../workers/activities.ts';
import { bundleWorkflows, createWorker, installRuntime } from '../../workers/worker.ts';
import { queries, type ReleaseStatus } from '../../workflows/messages.ts';
import { watched } from './activity.ts';
import { silentLog } from './log.ts';
import { releasesOn, stepOf } from './releases.ts';
import { exampleRuntime, servingSandbox, standIn, until } from './servings.ts';
import { startPostgres, startTemporal } from './stack.ts';

const HOUR = 3_600_000;

export interface Wanted {
  /** Flags of the candidate's serving; none: it shares the stable one's. */
  flags?: Record<string, FlagValue>;
  policy?: Partial<Policy>;
  /** What the gate says, at once; null: it collects for an hour. */
  verdict?: 'promote' | null;
  /** Ms after which Temporal ends the workflow. */
  timeout?: number;
  /** Hears of each move when it is through, before the workflow does. */
  moved?: (move: Move) => Promise<void>;
}

/** A release that runs on the worker, and what there was before it. */
export interface Dying {
  application: string;
  plan: ReleasePlan;
  handle: WorkflowHandle;
  /** Processes of the stable serving. */
  stablePids: number[];
}

/**
 * Real Temporal, Postgres and serving processes, with a worker of the whole product; only what measures and judges is told what to say. So
 * a release can be brought into any stage, and its workflow ended there.
 */
export async function dyingReleases() {
  installRuntime(silentLog);
  const [postgres, temporal] = await Promise.all([startPostgres(), startTemporal()]);
  const db: Database = openDatabase(postgres.url);
  const connection = await NativeConnection.connect({ address: temporal.address });
  const client = new Client({ connection: temporal.connection, namespace: temporal.namespace });
  const box = servingSandbox();
  const adapter = createLocalServing({ stateDir: box.stateDir, command: standIn, graceMs: 2_000 });
  const prometheus = { query: async () => ({ kind: 'nothing' as const }) } as never;
  const real = createActivities({ db, serving: adapter, prometheus, judge: null }, silentLog);
  const timingOut = new Set<string>();
  const verdicts = new Map<string, Wanted['verdict']>();
  const moved = new Map<string, NonNullable<Wanted['moved']>>();
  const activities = {
    ...real,
    checkPreflight: async () => ({ passed: true, summary: 'all well' }),
    evaluateCandidate: async () => ({ passed: true, summary: '30 of 30', digest: 'sha256:evaluation' }),
    planGate: async () => ({ passed: true, summary: 'seven days' }),
    async moveTraffic(step) {
      await real.moveTraffic(step);
      await moved.get(step.progress.release)?.(step.move);
    },
    async watchGuards({ progress }) {
      // Of a watch whose next look would come after the end Temporal says so at once, and the release would roll back before it times out.
      if (timingOut.has(progress.release)) await Context.current().cancelled;
      throw notYet('guards ok', 200);
    },
    async judgeCanary({ progress }) {
      if (verdicts.get(progress.release) !== 'promote') throw notYet('412 of 1000 samples', 200);
      return { decision: 'promote', evidence: 'sha256:evidence', summary: 'not worse' };
    },
  } satisfies Partial<ReleaseActivities> & object as typeof real;
  const worker = await createWorker({
    connection,
    topology: temporal.topology,
    activities,
    bundle: await bundleWorkflows(),
  });
  const running = worker.run();
  const releases = releasesOn(db);
  const provide = (release: string, serving: string) =>
    watched(() => real.provideServing({ ...stepOf(release), serving }));
  let count = 0;

  return {
    db,
    databaseUrl: postgres.url,
    client,
    adapter,
    real,
    releases,
    provide,
    living: box.living,
    temporal,

    /** An application that is served, and a release of it under way. */
    async begin({ flags, policy = {}, verdict = null, timeout, moved: heard }: Wanted = {}): Promise<Dying> {
      count += 1;
      const application = `app-${count}`;
      const runtime = exampleRuntime(1, { 'served-for': application });
      const before = box.living();
      await releases.established({ application, runtime }, provide);
      const stablePids = box.living().filter((pid) => !before.includes(pid));
      const plan = await releases.register({
        application,
        runtime: flags === undefined ? runtime : { ...runtime, flags: { ...runtime.flags, ...flags } },
        policy: {
          canary: { ...defaultPolicy.canary, minDuration: 100, guards: [] },
          gate: { ...defaultPolicy.gate, horizons: [verdict === null ? HOUR : 100], lookEvery: 200 },
          signOff: { ...defaultPolicy.signOff, required: false },
          promotion: { steps: [0.5, 1], hold: 1 },
          baking: { duration: 1 },
          ...policy,
        },
      });
      verdicts.set(plan.release, verdict);
      if (heard !== undefined) moved.set(plan.release, heard);
      if (timeout !== undefined) timingOut.add(plan.release);
      const { spec } = await getRelease(db, plan.release);
      const handle = await client.workflow.start('release', {
        workflowId: plan.release,
        taskQueue: temporal.taskQueue,
        args: [{ application, prompt: application, requester: 'ada', spec }],
        ...(timeout === undefined ? {} : { workflowExecutionTimeout: timeout }),
      });
      return { application, plan, handle, stablePids };
    },

    /** Waits for the stage and what else must be so. */
    async reaches(
      { handle }: Dying,
      stage: Stage,
      also: (status: ReleaseStatus) => boolean = () => true,
    ): Promise<void> {
      const look = (): Promise<ReleaseStatus> => handle.query(queries.status);
      await until(stage, look, (status) => status.stage === stage && also(status));
    },

    /** One run of the sweeper. */
    async sweep(grace = 0): Promise<{ swept: string[]; underWay: string[] }> {
      count += 1;
      return client.workflow.execute('sweeper', {
        workflowId: `sweeper-${count}`,
        taskQueue: temporal.taskQueue,
        args: [{ grace }],
      });
    },

    async ended({ plan }: Dying): Promise<ReleaseRow> {
      const look = () => getRelease(db, plan.release);
      return until(`${plan.release} has ended`, look, ({ endedAt }) => endedAt !== null);
    },

    async stop(): Promise<void> {
      worker.shutdown();
      await running;
      await connection.close();
      await box.cleanUp();
      await db.end();
      await Promise.all([temporal.stop(), postgres.stop()]);
    },
  };
}
