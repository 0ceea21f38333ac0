import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import { createEvidenceActivities } from '../../activities/evidence.ts';
import { NOT_YET } from '../../activities/watch.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { type GuardLook, type GuardReading, lookAt } from '../../domain/guards.ts';
import { defaultPolicy, type Policy } from '../../domain/policy/policy.ts';
import type { ReleasePlan } from '../../domain/release/spec.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { listLooks, listVerdicts, verifyEvidence } from '../../store/evidence.ts';
import { recordBatch } from '../../store/ledger.ts';
import { ASKED_AT, asAttempt } from '../support/activity.ts';
import { type CanaryTraffic, canaryTraffic, record } from '../support/canary.ts';
import { idOf, sampleOf } from '../support/ledger.ts';
import { silentLog } from '../support/log.ts';
import { releasesOn, stepOf } from '../support/releases.ts';
import { startPostgres, type TestPostgres } from '../support/stack.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const WEEK = 7 * DAY;

const quality = defaultPolicy.gate.metrics.filter(
  ({ metric }) => metric === 'quality:judge' || metric === 'error',
);
const policy: Pick<Policy, 'canary' | 'gate'> = {
  canary: { ...defaultPolicy.canary, weight: 0.3 },
  gate: {
    ...defaultPolicy.gate,
    metrics: quality.map((metric) => ({ ...metric, margin: 0.05 })),
  },
};

let postgres: TestPostgres;
let db: Database;
let releases: ReturnType<typeof releasesOn>;

before(async () => {
  postgres = await startPostgres();
  db = openDatabase(postgres.url);
  releases = releasesOn(db);
});

after(async () => {
  await db.end();
  await postgres.stop();
});

const reading = (given: Partial<GuardReading>): GuardReading => ({
  metric: 'errors',
  state: 'ok',
  canary: 0.01,
  stable: 0.01,
  limit: 0.06,
  requests: { canary: 100, stable: 900 },
  message: 'errors ok',
  ...given,
});
const fine = lookAt([reading({})]);
const unreachable = lookAt([
  reading({
    state: 'error',
    canary: null,
    stable: null,
    limit: null,
    requests: { canary: null, stable: null },
    message: 'errors: could not be measured on the canary arm: Prometheus does not answer: ECONNREFUSED',
  }),
]);

/** The activities with guards that tests set. */
function evidence(guards: () => GuardLook) {
  return createEvidenceActivities({ db, log: silentLog, measureGuards: async () => guards() });
}

let applications = 0;
/** A release whose canary began when the activities were asked for. */
async function canary(): Promise<ReleasePlan> {
  const application = `evidence-${++applications}`;
  await releases.established({ application });
  const plan = await releases.register({ application, policy });
  await asAttempt(() => evidence(() => fine).planGate(stepOf(plan.release)));
  await releases.move(plan.release, 'canary', policy.canary.weight);
  return plan;
}

function traffic(plan: ReleasePlan, changes: Partial<CanaryTraffic> = {}): CanaryTraffic {
  return {
    application: plan.application,
    release: plan.release,
    from: ASKED_AT,
    lasting: WEEK,
    stratum: policy.gate.stratum,
    users: { stable: 700, canary: 300 },
    samplesPerUser: 4,
    seed: 'the same for every release',
    ...changes,
  };
}

async function notYet(work: Promise<unknown>): Promise<{ message: string; retryIn: number }> {
  const error: unknown = await work.then(
    (value) => assert.fail(`it was decided: ${JSON.stringify(value)}`),
    (thrown) => thrown,
  );
  assert.ok(error instanceof ApplicationFailure, String(error));
  assert.equal(error.type, NOT_YET, error.message);
  return { message: error.message, retryIn: Number(error.nextRetryDelay) };
}

const watch = (plan: ReleasePlan, guards: GuardLook, at: number) =>
  asAttempt(() => evidence(() => guards).watchGuards({ ...stepOf(plan.release), canarySince: ASKED_AT }), {
    after: at,
  });
const judge = (plan: ReleasePlan, guards: GuardLook, at: number, horizon = 0) =>
  asAttempt(
    () => evidence(() => guards).judgeCanary({ ...stepOf(plan.release), horizon, canarySince: ASKED_AT }),
    { asked: ASKED_AT + WEEK, after: at - WEEK },
  );

describe('the plan of the gate', () => {
  it('is stored once and says when the gate decides and the smallest harm that it sees', async () => {
    const plan = await canary();
    const { rows: before } = await db.query('select * from gate_plans where release = $1', [plan.release]);
    const again = await asAttempt(() => evidence(() => fine).planGate(stepOf(plan.release)), { after: HOUR });
    assert.equal(again.passed, true);
    assert.match(again.summary, /after 7 d/);
    assert.match(again.summary, /Smallest harm seen by then: quality:judge 0\.\d+, error 0\.\d+/);
    const { rows: afterwards } = await db.query('select * from gate_plans where release = $1', [
      plan.release,
    ]);
    assert.deepEqual(afterwards, before);
  });
});

describe('the watch of the guards', () => {
  it('says how far it is, and keeps each look once', async () => {
    const plan = await canary();
    await record(
      db,
      canaryTraffic(traffic(plan)).filter(({ record: { at } }) => at < ASKED_AT + DAY),
    );
    const { message, retryIn } = await notYet(watch(plan, fine, DAY));
    assert.match(message, /^\d+ of 1000 samples, \d+ of 250 users on canary; guards ok; next look in 5 min$/);
    assert.equal(retryIn, policy.gate.lookEvery);
    await notYet(watch(plan, fine, DAY));
    const { looks } = await listLooks(db, plan.release);
    assert.deepEqual(
      looks.map(({ kind, at }) => [kind, at.getTime() - ASKED_AT]),
      [
        ['gate', DAY],
        ['guards', DAY],
      ],
    );
  });

  it('tells a breached guard in its own words', async () => {
    const plan = await canary();
    const words = 'errors breached: canary 12.0 %, stable 1.1 %, limit 6.1 %';
    assert.equal(await watch(plan, lookAt([reading({ state: 'failed', message: words })]), HOUR), words);
  });

  it('tells a harm that only the statistics see', async () => {
    const plan = await canary();
    const rows = canaryTraffic(traffic(plan, { quality: { canary: 0.6 } }));
    await record(
      db,
      rows.filter(({ record: { at } }) => at < ASKED_AT + 3 * DAY),
    );
    assert.match(await watch(plan, fine, 3 * DAY), /^quality:judge: .* wholly beyond the limit of -0.05/);
  });

  it('holds while Prometheus does not answer, soon looks again, and goes on by itself', async () => {
    const plan = await canary();
    await notYet(watch(plan, fine, HOUR));
    const held = await notYet(watch(plan, unreachable, 2 * HOUR));
    assert.match(held.message, /^holding: errors: .*Prometheus does not answer/);
    assert.equal(held.retryIn, 10_000);
    assert.match((await notYet(watch(plan, fine, 3 * HOUR))).message, /guards ok/);
  });

  it('fails closed when nothing could be measured for the maximum age', async () => {
    const plan = await canary();
    await notYet(watch(plan, fine, HOUR));
    await notYet(watch(plan, unreachable, HOUR + DAY - 1));
    assert.match(await watch(plan, unreachable, HOUR + DAY), /^nothing could be measured for 1 d/);
  });

  it('compares a canary that has everybody with the stable arm as it was', async () => {
    const plan = await canary();
    await notYet(watch(plan, fine, HOUR));
    await releases.move(plan.release, 'canary', 1);
    const alone = (errors: number) =>
      lookAt([
        reading({
          state: 'error',
          canary: errors,
          stable: null,
          limit: null,
          requests: { canary: 1000, stable: 0 },
          message: 'errors: the stable arm has no traffic',
        }),
      ]);
    assert.match((await notYet(watch(plan, alone(0.02), 2 * HOUR))).message, /guards ok/);
    assert.match(
      await watch(plan, alone(0.2), 3 * HOUR),
      /^errors breached: canary 20.0 %, stable 1.0 %, limit 6.0 % \(everybody is on the canary: stable as measured at 2026-01-05T01:00/,
    );
  });
});

describe('the verdict', () => {
  it('promotes at the horizon, once, and recomputes from the samples', async () => {
    const plan = await canary();
    await record(db, canaryTraffic(traffic(plan)));
    const early = await notYet(judge(plan, fine, WEEK - HOUR));
    assert.equal(early.retryIn, HOUR);
    assert.match((await notYet(judge(plan, fine, WEEK))).message, /no sample from after the horizon/);

    const verdict = await judge(plan, fine, WEEK + 60_000);
    assert.equal(verdict.decision, 'promote', verdict.summary);
    assert.match(
      verdict.summary,
      /^promote; .*quality:judge 0\.8\d* → 0\.\d+ .*1,200 samples of 300 users on canary/,
    );
    const [stored] = await listVerdicts(db, plan.release);
    assert.equal(stored?.digest, verdict.evidence);

    // Whatever arrives later, the verdict stands, and recomputes.
    await record(db, canaryTraffic(traffic(plan, { seed: 'late', quality: { canary: 0.1 } })));
    assert.deepEqual(await judge(plan, unreachable, WEEK + HOUR), verdict);
    assert.deepEqual(
      (await verifyEvidence(db, plan.release)).map(({ decision, digest }) => ({ decision, digest })),
      [{ decision: 'promote', digest: verdict.evidence }],
    );
  });

  it('does not wait for the grace when the ledger has passed the horizon', async () => {
    const plan = await canary();
    await record(db, canaryTraffic(traffic(plan)));
    const next = sampleOf({
      id: idOf(`after ${plan.release}`),
      at: ASKED_AT + WEEK + 1,
      application: plan.application,
      release: plan.release,
      stratum: 7 * 64,
    });
    await recordBatch(db, [next]);
    assert.equal((await judge(plan, fine, WEEK)).decision, 'promote');
  });

  it('waits for answers from before the horizon that wait for their score', async () => {
    const plan = await canary();
    await record(db, canaryTraffic(traffic(plan)));
    const unscored = sampleOf({
      id: idOf(`unscored ${plan.release}`),
      at: ASKED_AT + WEEK - 1,
      application: plan.application,
      release: plan.release,
      stratum: 6 * 64,
      scoring: { input: 'question', output: 'answer' },
    });
    await recordBatch(db, [unscored]);
    assert.match(
      (await notYet(judge(plan, fine, WEEK + HOUR))).message,
      /^holding: 1 answers .* wait for their score/,
    );
    await db.query('delete from scoring_queue where request_id = $1', [unscored.id]);
    assert.equal((await judge(plan, fine, WEEK + HOUR)).decision, 'promote');
  });

  it('is not spoken while a guard cannot be measured, and fails closed at the maximum age', async () => {
    const plan = await canary();
    await record(db, canaryTraffic(traffic(plan)));
    const held = await notYet(judge(plan, unreachable, WEEK + HOUR));
    assert.match(held.message, /^holding: errors: .*Prometheus does not answer/);
    await assert.rejects(judge(plan, unreachable, WEEK + DAY), {
      type: 'NOT_MEASURABLE',
      nonRetryable: true,
    });
    assert.deepEqual(await listVerdicts(db, plan.release), []);
  });

  for (const [what, kept] of [
    ['999 samples', 999],
    ['1000 samples', 1000],
  ] as const) {
    it(`${kept < 1000 ? 'never promotes' : 'promotes'} on ${what}`, async () => {
      const plan = await canary();
      const rows = canaryTraffic(traffic(plan, { users: { stable: 700, canary: 250 } }));
      const canaries = rows.filter((row) => row.record.arm === 'canary');
      assert.equal(canaries.length, 1000);
      await record(db, [
        ...rows.filter((row) => row.record.arm === 'stable'),
        ...canaries.slice(1000 - kept),
      ]);
      const verdict = await judge(plan, fine, WEEK + HOUR);
      assert.equal(verdict.decision, kept < 1000 ? 'continue' : 'promote', verdict.summary);
    });
  }

  it('is a mismatch when a sample, the plan or the verdict was changed', async () => {
    const plan = await canary();
    await record(db, canaryTraffic(traffic(plan)));
    await judge(plan, fine, WEEK + HOUR);
    await verifyEvidence(db, plan.release);
    const mismatch = (field: RegExp) => (error: unknown) =>
      error instanceof SlipwayError &&
      error.code === 'EVIDENCE_MISMATCH' &&
      field.test(error.details.field ?? '');
    const experiment = '(select id from experiments where release = $1)';

    const changed = `update samples set failed = not failed
      where id = (select id from samples where experiment = ${experiment} order by id limit 1)`;
    await db.query(changed, [plan.release]);
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(/^verdicts\[0\]/));
    await db.query(changed, [plan.release]);
    await verifyEvidence(db, plan.release);

    await db.query(
      `update evidence set verdict = replace(verdict, '"promote"', '"invalid"') where release = $1`,
      [plan.release],
    );
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(/^verdicts\[0\]\.decision$/));
    await db.query(
      `update evidence set verdict = replace(verdict, '"invalid"', '"promote"') where release = $1`,
      [plan.release],
    );
    await db.query(
      `update gate_plans set plan = replace(plan, '"minUsers":250', '"minUsers":1') where release = $1`,
      [plan.release],
    );
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(/^plan digest$/));
  });
});

describe('the list of looks', () => {
  it('comes in pages', async () => {
    const plan = await canary();
    for (const at of [HOUR, 2 * HOUR, 3 * HOUR]) await notYet(watch(plan, fine, at));
    const all = await listLooks(db, plan.release);
    assert.equal(all.looks.length, 6);
    assert.equal(all.next, null);
    const pages = [];
    for (let after: string | undefined; ; ) {
      const page = await listLooks(db, plan.release, { limit: 4, after });
      pages.push(page.looks.length);
      if (page.next === null) break;
      after = page.next;
    }
    assert.deepEqual(pages, [4, 2]);
    await assert.rejects(listLooks(db, plan.release, { after: 'yesterday' }), { code: 'INPUT_INVALID' });
  });
});
