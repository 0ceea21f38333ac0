import assert from 'node:assert/strict';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pino } from 'pino';
import { createEvidenceActivities } from '../../activities/evidence.ts';
import { type RunningApi, startApi } from '../../api/server.ts';
import type { GuardLook } from '../../domain/guards.ts';
import { defaultPolicy, type Policy } from '../../domain/policy/policy.ts';
import type { ReleasePlan } from '../../domain/release/spec.ts';
import { type Database, openDatabase } from '../../store/database.ts';
import { findVerdict } from '../../store/evidence.ts';
import { newKey, saveApiKey } from '../../store/keys.ts';
import { ASKED_AT, asAttempt } from '../support/activity.ts';
import { type CanaryTraffic, canaryTraffic, record } from '../support/canary.ts';
import { silentLog } from '../support/log.ts';
import { releasesOn, stepOf } from '../support/releases.ts';
import { startPostgres, startTemporal, type TestPostgres, type TestTemporal } from '../support/stack.ts';
import { slipway } from './slipway.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const WEEK = 7 * DAY;

const policy: Pick<Policy, 'canary' | 'gate'> = {
  canary: { ...defaultPolicy.canary, weight: 0.3 },
  gate: {
    ...defaultPolicy.gate,
    metrics: defaultPolicy.gate.metrics.map((metric) => ({ ...metric, margin: 6 * metric.margin })),
  },
};
const fine: GuardLook = { state: 'ok', readings: [], message: 'guards ok' };

/** An analyst exports what a release's verdict saw, as docs/operating.md says, and judges it at their own desk. */
describe('gate judge --release', () => {
  let postgres: TestPostgres;
  let temporal: TestTemporal;
  let db: Database;
  let api: RunningApi;
  let folder: string;
  const key = newKey();

  before(async () => {
    [postgres, temporal] = await Promise.all([startPostgres(), startTemporal()]);
    db = openDatabase(postgres.url);
    await saveApiKey(db, key, { name: 'ann', role: 'auditor' });
    api = await startApi({
      databaseUrl: postgres.url,
      temporal: temporal.connection,
      namespace: temporal.namespace,
      taskQueue: temporal.taskQueue,
      port: 0,
      logger: pino({ level: 'silent' }),
    });
    folder = await mkdtemp(join(tmpdir(), 'slipway-judge-'));
    await chmod(folder, 0o777); // Postgres writes into it, under an account of its own.
  });
  after(async () => {
    await api?.stop();
    await db?.end();
    await temporal?.stop();
    await postgres?.stop();
    if (folder) await rm(folder, { recursive: true });
  });

  /** A release whose plan knows the traffic of the week before, and whose canary began at ASKED_AT. */
  async function canary(application: string): Promise<ReleasePlan> {
    const releases = releasesOn(db);
    await releases.established({ application });
    const before = canaryTraffic({ ...traffic(application, 'before'), from: ASKED_AT - 8 * DAY });
    await record(
      db,
      before.map(({ record: sample, score }) => ({
        record: { ...sample, release: null, arm: 'stable', stratum: Math.floor(sample.at / DAY) * 64 },
        score,
      })),
    );
    const plan = await releases.register({ application, policy });
    await asAttempt(() => evidence().planGate(stepOf(plan.release)));
    await releases.move(plan.release, 'canary', policy.canary.weight);
    return plan;
  }

  const evidence = () => createEvidenceActivities({ db, log: silentLog, measureGuards: async () => fine });

  function traffic(application: string, release: string, more: Partial<CanaryTraffic> = {}): CanaryTraffic {
    const users = { stable: 700, canary: 300 };
    const stratum = policy.gate.stratum;
    return {
      application,
      release,
      from: ASKED_AT,
      lasting: WEEK,
      stratum,
      users,
      samplesPerUser: 4,
      ...more,
    };
  }

  const judgeAt = (release: string, at: number, horizon = 0) =>
    asAttempt(() => evidence().judgeCanary({ ...stepOf(release), horizon, canarySince: ASKED_AT }), {
      asked: ASKED_AT + WEEK,
      after: at - WEEK,
    });

  /** The statement of the documentation; Postgres writes the file itself, so that no psql is needed. */
  async function exported(release: string): Promise<string> {
    const page = await readFile(new URL('../../docs/operating.md', import.meta.url), 'utf8');
    const statement = /<<'SQL'\n([\s\S]*?)\nSQL\n/.exec(page)?.[1] ?? assert.fail('no statement');
    const file = join(folder, `${release}.csv`);
    await db.query(statement.replaceAll(":'release'", `'${release}'`).replace('to stdout', `to '${file}'`));
    return file;
  }

  const judge = (file: string, release: string, ...more: string[]) =>
    slipway(['gate', 'judge', file, '--release', release, ...more], {
      SLIPWAY_API_URL: api.url,
      SLIPWAY_API_KEY: key,
    });

  it('makes the verdict of the release, byte for byte, of what the verdict saw', async () => {
    const { application, release } = await canary('equal');
    const rows = canaryTraffic(traffic(application, release, { lasting: WEEK + 6 * HOUR }));
    await record(
      db,
      rows.filter((_, index) => index % 10 !== 0),
    );
    const { decision } = await judgeAt(release, WEEK + HOUR);
    // What comes later belongs to the ledger, but not to the verdict.
    await record(
      db,
      rows.filter((_, index) => index % 10 === 0),
    );
    const stored = await findVerdict(db, release, 0);
    assert.ok(stored);
    assert.deepEqual([decision, stored.verdict.guards.length], ['promote', policy.gate.metrics.length]);

    const file = await exported(release);
    const { code, stdout, stderr } = await judge(file, release, '--json');
    assert.equal(code, 0, stderr);
    const judged = JSON.parse(stdout) as { verdict: unknown; recorded: unknown };
    assert.deepEqual(judged.verdict, stored.verdict);
    assert.deepEqual(judged.recorded, { release, horizon: 0, digest: stored.digest, same: true });
    assert.match((await judge(file, release)).stdout, /equal-\d+ at horizon 1 is the same, byte for byte\n$/);

    const [header, ...lines] = (await readFile(file, 'utf8')).trimEnd().split('\n');
    const other = join(folder, 'other.csv');
    await writeFile(other, [header, ...lines.slice(1)].join('\n'));
    const differs = await judge(other, release);
    assert.equal(differs.code, 1, 'one sample is missing');
    assert.match(differs.stdout, new RegExp(`promote[\\s\\S]* is another one: ${stored.digest}\n$`));
  });

  it('makes the same of harm, of an ended horizon and of clocks that jumped', async () => {
    const { application, release } = await canary('harmed');
    const rows = canaryTraffic(
      traffic(application, release, { lasting: 2 * WEEK, quality: { canary: 0.5 }, errors: { canary: 0.2 } }),
    );
    const [first] = rows;
    assert.ok(first);
    const jumped = [-2, 20].map((days) => {
      const at = ASKED_AT + days * DAY;
      return { ...first.record, id: crypto.randomUUID(), at, stratum: days * 64 };
    });
    await record(db, [...rows, ...jumped.map((sample) => ({ record: sample, score: 0.5 }))]);
    await judgeAt(release, 2 * WEEK + HOUR, 1);
    const stored = await findVerdict(db, release, 1);
    assert.ok(stored);
    assert.deepEqual(
      ['harm', 'clock'].map((reason) => stored.verdict.reasons.some(({ code }) => code === reason)),
      [true, true],
    );
    const { code, stdout } = await judge(await exported(release), release, '--json');
    assert.equal(code, 1);
    const judged = JSON.parse(stdout) as { verdict: unknown; rows: { outside: number } };
    assert.deepEqual(judged.verdict, stored.verdict);
    assert.equal(judged.rows.outside, 2);
  });

  it('judges a release without a verdict by its plan, and refuses one without a canary', async () => {
    const { application, release } = await canary('young');
    const rows = canaryTraffic(traffic(application, release, { lasting: 2 * DAY }));
    const file = join(folder, 'young.csv');
    const lines = rows.map(({ record: sample }) => {
      return `${new Date(sample.at).toISOString()},${sample.user},${sample.arm},${sample.latency},,,,,,`;
    });
    const header = 'time,user,arm,latency,error,violation,ttft,tpot,cost,quality:judge';
    await writeFile(file, [header, ...lines].join('\n'));
    const { code, stdout } = await judge(file, release, '--json');
    assert.equal(code, 1);
    const judged = JSON.parse(stdout) as { verdict: { decision: string; elapsed: number }; recorded: null };
    assert.deepEqual([judged.verdict.decision, judged.recorded], ['continue', null]);

    const releases = releasesOn(db);
    const waiting = await releases.register({ application: 'waiting', policy });
    const refused = await judge(file, waiting.release);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /^NOT_FOUND: release waiting-\d+ has no canary yet/);
    await releases.end(waiting.release, 'rolled-back');
    const { stderr } = await judge(file, waiting.release);
    assert.match(stderr, /^NOT_FOUND: release waiting-\d+ has ended and never had a canary/);
  });
});
