import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ApplicationFailure } from '@temporalio/common';
import { createEvidenceActivities } from '../../activities/evidence.ts';
import type { GuardSubject } from '../../activities/guards.ts';
import { NOT_YET } from '../../activities/watch.ts';
import { digestOf } from '../../domain/digest.ts';
import { SlipwayError } from '../../domain/errors.ts';
import { figuresDigest } from '../../domain/gate/evidence.ts';
import { type ArmMeasurement, type GuardLook, lookAt, readGuard } from '../../domain/guards.ts';
import { defaultPolicy, type Policy } from '../../domain/policy/policy.ts';
import type { ReleasePlan } from '../../domain/release/spec.ts';
import type { WatchedGate } from '../../domain/release/watching.ts';
import { getPlan, listLooks, listVerdicts, windowOf } from '../../store/evidence.ts';
import { figuresFromSamples } from '../../store/gate-samples.ts';
import { verifyEvidence } from '../../store/gate-verification.ts';
import { recordBatch, type SampleRecord } from '../../store/ledger.ts';
import { getRelease, loadSpec } from '../../store/releases.ts';
import { ASKED_AT, asAttempt } from '../support/activity.ts';
import { type CanaryTraffic, canaryTraffic, record } from '../support/canary.ts';
import { databaseOfFile } from '../support/database.ts';
import { idOf, sampleOf } from '../support/ledger.ts';
import { silentLog } from '../support/log.ts';
import { releasesOn, stepOf } from '../support/releases.ts';

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

const db = await databaseOfFile();
const releases = releasesOn(db);

const arm = (requests: number, value: number | null): ArmMeasurement => ({
  requests: { value: requests },
  value: value === null ? { missing: 'Prometheus has no data for it' } : { value },
});
const silent: ArmMeasurement = {
  requests: { missing: 'Prometheus does not answer: ECONNREFUSED' },
  value: { missing: 'Prometheus does not answer: ECONNREFUSED' },
};
const errorsOf = (canary: ArmMeasurement, stable: ArmMeasurement): GuardLook => {
  const guard = policy.canary.guards.find(({ metric }) => metric === 'errors');
  assert.ok(guard);
  return lookAt([readGuard(guard, { canary, stable }, policy.canary.guardMinRequests)]);
};
const fine = errorsOf(arm(100, 0.01), arm(900, 0.01));
const bad = errorsOf(arm(100, 0.12), arm(900, 0.011));
const unreachable = errorsOf(silent, silent);
/** Everybody is on the canary, where so many requests in a hundred fail. */
const alone = (percent: number): GuardLook => errorsOf(arm(1000, percent / 100), arm(0, null));

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

/** What the users of an application asked in the week before a release. */
async function weekBefore(application: string, users: number): Promise<void> {
  const rows = canaryTraffic({
    ...{ application, release: application, from: ASKED_AT - WEEK, lasting: WEEK, stratum: DAY },
    ...{ users: { stable: users, canary: 0 }, samplesPerUser: 4 },
  });
  const quiet = rows.map(({ record: { at, ...rest }, score }) => ({
    record: { ...rest, at, release: null, stratum: Math.floor(at / DAY) * 64 },
    score,
  }));
  await record(db, quiet);
}

describe('the plan of the gate by the traffic before', () => {
  for (const [users, passed] of [
    [2000, true],
    [100, false],
  ] as const) {
    it(`${passed ? 'passes' : 'is refused'} with ${users} users, weighed as the canary will be`, async () => {
      const application = `planned-${users}`;
      await releases.established({ application });
      await weekBefore(application, users);
      const { release } = await releases.register({ application, policy });
      const planned = await asAttempt(() => evidence(() => fine).planGate(stepOf(release)));
      assert.equal(planned.passed, passed, planned.summary);
      const { plan } = await getPlan(db, release);
      assert.deepEqual([plan.assumed, plan.policy.weight], [false, policy.canary.weight]);
      assert.equal(Math.round(plan.horizons[0]?.users ?? 0), users);
    });
  }
});

describe('the watch of the guards', () => {
  it('measures the candidate as the canary, beside the stable revision', async () => {
    const plan = await canary();
    const asked: GuardSubject[] = [];
    const { watchGuards } = createEvidenceActivities({
      db,
      log: silentLog,
      measureGuards: async (subject) => {
        asked.push(subject);
        return fine;
      },
    });
    await notYet(asAttempt(() => watchGuards({ ...stepOf(plan.release), canarySince: ASKED_AT })));
    const { candidate, stable } = await getRelease(db, plan.release);
    assert.notEqual(candidate, stable);
    const { application } = plan;
    assert.deepEqual(asked, [{ application, canary: candidate, stable, policy: policy.canary }]);
  });

  it('asks the ledger as often as the policy says, and Prometheus at every look', async () => {
    const plan = await canary();
    const { lookEvery } = policy.gate;
    for (const at of [0, 10_000, 0.9 * lookEvery - 1, 0.9 * lookEvery, 2 * lookEvery])
      await notYet(watch(plan, fine, at));
    const { looks } = await listLooks(db, plan.release);
    const times = (wanted: string) =>
      looks.filter(({ kind }) => kind === wanted).map(({ at }) => at.getTime() - ASKED_AT);
    assert.deepEqual(times('gate'), [0, 0.9 * lookEvery, 2 * lookEvery]);
    assert.equal(times('guards').length, 5);
  });

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
    assert.equal(await watch(plan, bad, HOUR), 'errors breached: canary 12.0 %, stable 1.1 %, limit 6.1 %');
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
    assert.match((await notYet(watch(plan, alone(2), 2 * HOUR))).message, /guards ok/);
    assert.match(
      await watch(plan, alone(20), 3 * HOUR),
      /^errors breached: canary 20.0 %, stable 1.0 %, limit 6.0 % \(everybody is on the canary: stable as measured at 2026-01-05T01:00/,
    );
  });
});

describe('a hold of the canary', () => {
  const UNTIL = ASKED_AT + HOUR;
  const hold = (plan: ReleasePlan, guards: GuardLook, at: number, asked = ASKED_AT) =>
    asAttempt(() => evidence(() => guards).holdCanary({ ...stepOf(plan.release), until: UNTIL }), {
      asked,
      after: ASKED_AT + at - asked,
    });

  it('is over when its time is, and the guards are measured then', async () => {
    const plan = await canary();
    const early = await notYet(hold(plan, fine, HOUR / 4));
    assert.deepEqual(
      [early.message, early.retryIn],
      ['goes on in 45 min, if the guards can be measured then', 0.75 * HOUR],
    );
    await hold(plan, fine, HOUR);
    const { looks } = await listLooks(db, plan.release);
    assert.deepEqual(
      looks.map(({ at }) => at.getTime()),
      [UNTIL],
    );
  });

  it('lasts while Prometheus does not answer or a guard is breached, and fails closed at the maximum age', async () => {
    const plan = await canary();
    const held = await notYet(hold(plan, unreachable, HOUR));
    assert.match(held.message, /^holding: errors: .*Prometheus does not answer/);
    assert.equal(held.retryIn, 10_000);
    await notYet(hold(plan, bad, HOUR));
    await notYet(hold(plan, unreachable, HOUR + DAY - 1));
    await assert.rejects(hold(plan, unreachable, HOUR + DAY), (error) => {
      assert.ok(error instanceof ApplicationFailure);
      assert.deepEqual([error.type, error.nonRetryable], ['NOT_MEASURABLE', true]);
      assert.match(error.message, /^the release could not go on for 1 d: .*Repair the measurement/);
      return true;
    });
    // After a long pause it is asked again, and has the whole time again.
    await notYet(hold(plan, unreachable, 3 * DAY, ASKED_AT + 3 * DAY));
    await hold(plan, fine, 3 * DAY, ASKED_AT + 3 * DAY);
  });
});

const mismatch = (field: RegExp) => (error: unknown) =>
  error instanceof SlipwayError &&
  error.code === 'EVIDENCE_MISMATCH' &&
  field.test(error.details.field ?? '');

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
      (await verifyEvidence(db, plan.release)).verdicts.map(({ decision, digest }) => ({ decision, digest })),
      [{ decision: 'promote', digest: verdict.evidence }],
    );
  });

  it('of a release that was judged late leaves out what came meanwhile, and recomputes', async () => {
    const plan = await canary();
    await record(db, canaryTraffic(traffic(plan, { lasting: 9 * DAY, users: { stable: 900, canary: 390 } })));
    const verdict = await judge(plan, fine, 9 * DAY);
    assert.equal(verdict.decision, 'promote', verdict.summary);
    const [stored] = await listVerdicts(db, plan.release);
    assert.deepEqual(stored?.judgedAt, new Date(ASKED_AT + 9 * DAY));
    assert.equal(stored?.verdict.elapsed, WEEK);
    assert.equal((await verifyEvidence(db, plan.release)).verdicts.length, 1);
  });

  it('goes on to the next horizon with its own share of α, and each recomputes', async () => {
    const plan = await canary();
    const rows = canaryTraffic(traffic(plan, { lasting: 2 * WEEK, users: { stable: 700, canary: 260 } }));
    const before = rows.filter(({ record: { at } }) => at < ASKED_AT + WEEK);
    await record(db, before);
    const first = await judge(plan, fine, WEEK + HOUR);
    assert.equal(first.decision, 'continue', first.summary);
    await record(
      db,
      rows.filter(({ record: { at } }) => at >= ASKED_AT + WEEK),
    );
    assert.equal((await notYet(judge(plan, fine, WEEK + HOUR, 1))).retryIn, WEEK - HOUR);
    const second = await judge(plan, fine, 2 * WEEK + HOUR, 1);
    assert.equal(second.decision, 'promote', second.summary);
    assert.deepEqual(await judge(plan, fine, 2 * WEEK + HOUR), first);
    assert.deepEqual(await judge(plan, fine, 2 * WEEK + 2 * HOUR, 1), second);

    const stored = await listVerdicts(db, plan.release);
    const { horizons } = (await getPlan(db, plan.release)).plan;
    assert.deepEqual(
      stored.map(({ verdict: { horizon, elapsed } }) => [horizon.index, horizon.alpha, elapsed]),
      [
        [0, horizons[0]?.alpha, WEEK],
        [1, horizons[1]?.alpha, 2 * WEEK],
      ],
    );
    const { verdicts } = await verifyEvidence(db, plan.release);
    assert.deepEqual(
      verdicts.map(({ horizon, digest, watermark }) => ({ horizon, digest, watermark })),
      stored.map(({ horizon, digest, watermark }) => ({ horizon, digest, watermark })),
    );
    assert.deepEqual(
      verdicts.map(({ digest }) => digest),
      [first.evidence, second.evidence],
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
    const gone = AbortSignal.abort(new Error('nobody waits'));
    await assert.rejects(verifyEvidence(db, plan.release, 0, gone), /nobody waits/);
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
    // A sign-off binds the digest, and the text is what was digested.
    const digested = (digest: string) =>
      db.query('update evidence set digest = $2 where release = $1', [plan.release, digest]);
    const [stored] = await listVerdicts(db, plan.release);
    await digested(digestOf('another'));
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(/^verdicts\[0\] digest$/));
    await digested(stored?.digest ?? '');
    await db.query(`update evidence set verdict = verdict || ' ' where release = $1`, [plan.release]);
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(/^verdicts\[0\] text$/));
    await db.query(`update evidence set verdict = rtrim(verdict) where release = $1`, [plan.release]);
    await verifyEvidence(db, plan.release);

    await db.query(
      `update gate_plans set plan = replace(plan, '"minUsers":250', '"minUsers":1') where release = $1`,
      [plan.release],
    );
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(/^plan digest$/));
  });
});

describe('the look that stopped a release', () => {
  /** What the workflow records when the watch ends. */
  const ended = (plan: ReleasePlan, reason: string) =>
    db.query('update releases set reason = $2 where id = $1', [plan.release, reason]);
  const changeLooks = (plan: ReleasePlan, kind: string, at: number, path: string, value: unknown) =>
    db.query(`update looks set look = jsonb_set(look, $4, $5) where release = $1 and kind = $2 and at = $3`, [
      plan.release,
      kind,
      new Date(ASKED_AT + at),
      path,
      JSON.stringify(value),
    ]);

  it('recomputes from the samples up to its watermark, when the statistics saw the harm', async () => {
    const plan = await canary();
    const rows = canaryTraffic(traffic(plan, { quality: { canary: 0.6 } }));
    const until = (at: number, from = 0) =>
      rows.filter(({ record }) => record.at < ASKED_AT + at && record.at >= ASKED_AT + from);
    await record(db, until(3 * HOUR));
    await notYet(watch(plan, fine, 3 * HOUR));
    await record(db, until(3 * DAY, 3 * HOUR));
    const reason = await watch(plan, fine, 3 * DAY);
    await ended(plan, reason);
    // What comes later, from before and after the look, is not what it saw.
    await record(db, canaryTraffic(traffic(plan, { seed: 'late' })));

    const found = await verifyEvidence(db, plan.release);
    assert.deepEqual(found.verdicts, []);
    assert.deepEqual(found.looks, {
      guards: { kept: 2, recomputed: 2 },
      gate: { kept: 2, recomputed: 1 },
    });
    const { looks } = await listLooks(db, plan.release, { kind: 'gate' });
    const last = looks.at(-1);
    assert.ok(last);
    // A look says what it was made from.
    const { release } = plan;
    const window = { from: ASKED_AT, to: ASKED_AT + 3 * DAY, seenAt: ASKED_AT + 3 * DAY };
    const made = await getPlan(db, release);
    const { watermark } = last.look as WatchedGate;
    const { policy: whole } = await loadSpec(db, (await getRelease(db, release)).spec);
    const seen = await figuresFromSamples(
      db,
      windowOf(release, whole, window),
      made.plan.policy.metrics,
      watermark,
    );
    const digests = { planDigest: made.digest, figuresDigest: figuresDigest(seen) };
    assert.deepEqual(last.look, { ...(last.look as WatchedGate), ...digests });
    assert.deepEqual(found.stop, {
      at: new Date(ASKED_AT + 3 * DAY),
      reason,
      from: 'samples',
      watermark: (last.look as { watermark: number }).watermark,
      digest: digestOf(last.look),
    });
    assert.deepEqual((await verifyEvidence(db, plan.release, 9)).looks.gate, { kept: 2, recomputed: 2 });

    // A look that saw no harm is made again only when it is asked for.
    await changeLooks(plan, 'gate', 3 * HOUR, '{arms,canary,samples}', 1);
    await verifyEvidence(db, plan.release);
    await assert.rejects(
      verifyEvidence(db, plan.release, 1),
      mismatch(/^looks\[2026-01-05T03:00:00.000Z\]\.gate\.arms\.canary\.samples$/),
    );
    const estimate = /^looks\[2026-01-08T00:00:00.000Z\]\.gate\.guards\[0\]/;
    await changeLooks(plan, 'gate', 3 * DAY, '{guards,0,estimate}', -0.9);
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(estimate));
  });

  it('is made again, and of the others as many as one asks for, spread evenly', async () => {
    const plan = await canary();
    await record(
      db,
      canaryTraffic(traffic(plan)).filter(({ record: { at } }) => at < ASKED_AT + 4 * HOUR),
    );
    for (const at of [1, 2, 3, 4]) await notYet(watch(plan, fine, at * HOUR));
    const changed = async (at: number, others: number) => {
      await changeLooks(plan, 'gate', at * HOUR, '{elapsed}', -1);
      const seen = await verifyEvidence(db, plan.release, others).then(
        ({ looks }) => `${looks.gate.recomputed} fine`,
        ({ details }: SlipwayError) => `${details.field}`,
      );
      await changeLooks(plan, 'gate', at * HOUR, '{elapsed}', at * HOUR);
      return seen;
    };
    const look = (at: number) => `looks[2026-01-05T0${at}:00:00.000Z].gate.elapsed`;
    assert.deepEqual(
      [await changed(4, 0), await changed(3, 1), await changed(4, 1)],
      ['0 fine', '1 fine', look(4)],
    );
    assert.deepEqual(
      [await changed(1, 2), await changed(2, 2), await changed(1, 4)],
      ['2 fine', look(2), look(1)],
    );
  });

  it('is a mismatch when a sample was changed that it saw', async () => {
    const plan = await canary();
    const rows = canaryTraffic(traffic(plan, { quality: { canary: 0.6 } }));
    await record(
      db,
      rows.filter(({ record: { at } }) => at < ASKED_AT + 3 * DAY),
    );
    const reason = await watch(plan, fine, 3 * DAY);
    // Also while nobody has written down yet why the release ends.
    assert.deepEqual((await verifyEvidence(db, plan.release)).looks.gate, { kept: 1, recomputed: 1 });
    await ended(plan, reason);
    await verifyEvidence(db, plan.release);
    await db.query(
      `update samples set failed = not failed
        where id = (select id from samples where experiment = (select id from experiments where release = $1) order by id limit 1)`,
      [plan.release],
    );
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(/^looks\[.*\]\.gate\./));
  });

  it('recomputes from its measurements, when Prometheus saw the harm', async () => {
    const plan = await canary();
    await notYet(watch(plan, fine, HOUR));
    const reason = await watch(plan, bad, 2 * HOUR);
    await ended(plan, reason);
    const { stop, looks } = await verifyEvidence(db, plan.release);
    assert.deepEqual(
      [stop?.at.getTime(), stop?.reason, stop?.from, stop?.watermark],
      [ASKED_AT + 2 * HOUR, reason, 'measurements', null],
    );
    assert.deepEqual(looks.guards, { kept: 2, recomputed: 2 });

    await changeLooks(plan, 'guards', 2 * HOUR, '{readings,0,measured,canary,value,value}', 0.01);
    await assert.rejects(
      verifyEvidence(db, plan.release),
      mismatch(/^looks\[2026-01-05T02:00:00.000Z\]\.guards\./),
    );
  });

  it('recomputes with what it remembered, when everybody was on the canary', async () => {
    const plan = await canary();
    await notYet(watch(plan, fine, HOUR));
    await releases.move(plan.release, 'canary', 1);
    await notYet(watch(plan, alone(2), 2 * HOUR));
    await ended(plan, await watch(plan, alone(20), 3 * HOUR));
    const { stop, looks } = await verifyEvidence(db, plan.release);
    assert.equal(stop?.from, 'measurements');
    assert.deepEqual(looks.guards, { kept: 3, recomputed: 3 });
    await db.query(`delete from looks where release = $1 and kind = 'guards' and at = $2`, [
      plan.release,
      new Date(ASKED_AT + 2 * HOUR),
    ]);
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(/\.guards\.after$/));
  });

  it('recomputes when nothing could be measured for too long', async () => {
    const plan = await canary();
    await notYet(watch(plan, fine, HOUR));
    await ended(plan, await watch(plan, unreachable, HOUR + DAY));
    const { stop } = await verifyEvidence(db, plan.release);
    assert.equal(stop?.from, 'silence');
  });

  it('says why requests failed on the canary, of the samples that it saw, and recomputes', async () => {
    const plan = await canary();
    const failing = (count: number, reason: string, more: Partial<SampleRecord> = {}) =>
      Array.from({ length: count }, (_, index) => ({
        ...sampleOf({ id: idOf(`${plan.release} ${reason} ${more.arm} ${index}`), at: ASKED_AT + HOUR }),
        ...{ application: plan.application, release: plan.release, user: `user-${index}`, stratum: 0 },
        ...{ arm: 'canary' as const, failed: true, status: 503, reason, ...more },
      }));
    const rows = [
      ...failing(19, 'no_endpoint'),
      ...failing(2, 'upstream_cut'),
      ...failing(30, 'upstream_error', { arm: 'stable' }),
      ...failing(9, 'client_closed', { failed: false }),
    ];
    await recordBatch(db, rows);
    const reason = await watch(plan, bad, 2 * HOUR);
    assert.match(
      reason,
      /^errors breached: .*; on the canary: no_endpoint 19 \(no replica answered\), upstream_cut 2 \(the replica broke off\)$/,
    );
    await ended(plan, reason);
    await recordBatch(db, failing(40, 'upstream_timeout'));
    const { stop, looks } = await verifyEvidence(db, plan.release);
    assert.equal(stop?.reason, reason);
    // The look at the ledger that counted the failures is made again, although it saw no harm itself.
    assert.deepEqual([stop?.from, looks.gate], ['measurements', { kept: 1, recomputed: 1 }]);

    await ended(plan, reason.replace('no_endpoint 19', 'no_endpoint 18'));
    await assert.rejects(verifyEvidence(db, plan.release), mismatch(/^reason$/));
  });

  it('is none when somebody aborted the release', async () => {
    const plan = await canary();
    await notYet(watch(plan, fine, HOUR));
    await ended(plan, 'aborted by approver: enough');
    const { stop, reason } = await verifyEvidence(db, plan.release);
    assert.deepEqual([stop, reason], [null, 'aborted by approver: enough']);
  });
});

describe('the list of looks', () => {
  it('is read to its end by who verifies it', async () => {
    const plan = await canary();
    await db.query(
      `insert into looks (release, at, kind, look)
       select $1, $2::timestamptz + n * interval '5 minutes', 'gate', '{}' from generate_series(1, 5001) n`,
      [plan.release, new Date(ASKED_AT)],
    );
    const { looks } = await verifyEvidence(db, plan.release);
    assert.deepEqual(looks.gate, { kept: 5001, recomputed: 0 });
  });

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
